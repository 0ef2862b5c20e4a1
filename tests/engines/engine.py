"""A real engine, as setup.sh installed it."""

import os
import signal
import subprocess
import time

from harness import CHAT, ask, chat, free_port, kill_session, session_of

HERE = os.path.dirname(os.path.abspath(__file__))


class Engine:
    """A running engine."""

    def __init__(self, stack, directory, kind, *flags, port=None, variables=None):
        self.port, self.kind, self.ended = port or free_port(), kind, False
        self.again = lambda: Engine(stack, directory, kind, *flags, port=self.port, variables=variables)
        self.url = f"http://127.0.0.1:{self.port}"
        command = [os.path.join(HERE, "start.sh"), directory, kind, str(self.port), *flags]
        began = time.monotonic()
        started = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **(variables or {})})
        assert started.returncode == 0, f"{kind} did not start:\n{started.stderr}"
        self.pid = int(started.stdout)
        stack.callback(self.end)
        # The first answer of a kind compiles.
        for stream in (False, True):
            assert ask(self.url, "POST", CHAT, chat(stream=stream)).status == 200
        print(f"        {' '.join([kind, *flags])}: started in {time.monotonic() - began:.0f} s")

    def restarted(self):
        """The same engine at the same port, after this one was ended."""
        assert self.ended
        return self.again()

    def end(self):
        # Once: its number may be somebody else's afterwards.
        if not self.ended:
            self.ended = True
            kill_session(self.pid)

    def signal(self, number):
        os.kill(self.pid, number)

    def is_running(self):
        """Whether its first process is there: others may be left behind."""
        return self.pid in session_of(self.pid)

    def fall_silent(self):
        """SIGTERM to vLLM's server, which kills its engine at once and waits for connections to end. Whether
        the engine can tell of its end before that is a race; one that is stopped cannot."""
        for pid in session_of(self.pid):
            with open(f"/proc/{pid}/cmdline") as file:
                if file.read().startswith("VLLM::"):
                    os.kill(pid, signal.SIGSTOP)
        self.signal(signal.SIGTERM)

    def metric(self, name):
        lines = ask(self.url, "GET", "/metrics").body.decode().splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name))

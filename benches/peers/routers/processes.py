"""Starts programs, waits until they answer, tells what CPU time they used, and ends them."""

import json
import os
import pathlib
import signal
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request

START_SECONDS = 120


class Failure(Exception):
    """Something that makes the comparison worthless."""


def free_port():
    """A port that nobody listens on; ports that were given are not given again."""
    while True:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            port = listener.getsockname()[1]
        if port not in _given:
            _given.add(port)
            return port


_given = set()
_running = []


class Program:
    """A process with a session of its own, so that all its descendants can be found and ended."""

    def __init__(self, name, command, work, environment=None):
        self.name = name
        self.command = command
        self.log = work / (name.replace(" ", "_").replace(",", "") + ".log")
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(environment or {})},
                start_new_session=True,
            )
        _running.append(self)

    def members(self):
        """Ids of all processes of the session, from field 6 of /proc/PID/stat."""
        found = []
        for entry in pathlib.Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                # The name in parentheses may hold anything, parentheses too.
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[3]) == self.process.pid and fields[0] != "Z":
                found.append(int(entry.name))
        return found

    def cpu_seconds(self):
        """CPU time of all processes of the session, system time and ended threads included.

        It is the sum that /proc/PID/stat shows in ticks of 10 ms as utime and stime, read in
        nanoseconds from the CPU clock of each process.
        """
        return sum(time.clock_gettime((~pid << 3) | 2) for pid in self.members())

    def threads(self):
        """Threads of all processes of the session."""
        return sum(len(os.listdir(f"/proc/{pid}/task")) for pid in self.members())

    def fail(self, what):
        tail = self.log.read_text(errors="replace")[-3000:]
        raise Failure(f"{self.name}: {what}\n{' '.join(map(str, self.command))}\n{tail}")

    def wait_for(self, ready):
        """Calls `ready` until it gives something true, which is returned."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                self.fail(f"ended with {self.process.returncode}")
            if result := ready():
                return result
            time.sleep(0.05)
        return self.fail(f"is not ready after {START_SECONDS} s")

    def end(self):
        for number in (signal.SIGTERM, signal.SIGKILL):
            for pid in self.members():
                try:
                    os.kill(pid, number)
                except ProcessLookupError:
                    pass
            deadline = time.monotonic() + 3
            while time.monotonic() < deadline:
                self.process.poll()
                if not self.members():
                    return
                time.sleep(0.02)


def end_all():
    """Ends every program that was started, the last one first."""
    while _running:
        _running.pop().end()


def start_worker(router, number, work):
    """A simulated worker that answers at once. Returns its URL."""
    command = [router, "sim-worker", "--worker-id", f"w{number}", "--seed", str(number)]
    command += ["--time-scale", "0", "--cache-tokens", "0", "--max-running", "100000"]
    program = Program(f"worker {number}", command, work)

    def url():
        text = program.log.read_text()
        return text.split("listening on ", 1)[1].split()[0] if text.endswith("\n") and "listening on" in text else None

    return program.wait_for(url)


def answers(url, authority=None):
    """Whether a whole request through this router is answered with 200."""
    body = {"model": "sim-model", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 2}
    request = urllib.request.Request(
        f"{url}/v1/chat/completions", json.dumps(body).encode(), {"content-type": "application/json"}
    )
    context = ssl.create_default_context(cafile=authority) if authority else None
    try:
        with urllib.request.urlopen(request, timeout=5, context=context) as response:
            return response.status == 200 and bool(json.load(response)["choices"])
    except (OSError, ValueError, KeyError):
        return False

"""What the tests of deploy/ share: where things are, processes, and a router with its simulated workers."""

import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from processes import LONGEST_WAIT_S, stop, wait_for  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
# Ports that the system chooses, instead of those that a file or a default names.
FREE_PORTS = ["--port", "0", "--prometheus-port", "0", "--admin-port", "0"]


class Skipped(Exception):
    """What cannot be checked here, and why."""


# --- processes -----------------------------------------------------------------------------


def start(stack, command, log, **options):
    """Starts a process that ends with `stack`; all that it prints goes to the file `log`."""
    with open(log, "w") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, stdin=subprocess.DEVNULL, **options)
    stack.callback(stop, process)
    return process


def run(command, **options):
    """What a command prints; fails with all of it if the command does."""
    command = [str(part) for part in command]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300, **options)
    assert done.returncode == 0, f"{' '.join(command)}: exit code {done.returncode}\n{done.stdout}"
    return done.stdout


# --- HTTP ----------------------------------------------------------------------------------


def ask(url, body=None, headers=None):
    """Status, headers and body of an answer."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"content-type": "application/json"} | (headers or {}))
    try:
        with urllib.request.urlopen(request, timeout=LONGEST_WAIT_S) as answer:
            return answer.status, answer.headers, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, error.read().decode()


def status(url):
    """The status of an answer, or None if there is none."""
    try:
        return ask(url)[0]
    except (urllib.error.URLError, ConnectionError):
        return None


def chat(url, **fields):
    """A chat request; gives status, headers and body."""
    body = {"model": "sim-model", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 4} | fields
    return ask(f"{url}/v1/chat/completions", body)


# --- routers and workers -------------------------------------------------------------------


class SimWorker:
    """A simulated worker."""

    def __init__(self, stack, command, log):
        self.process = start(stack, command, log)
        self.url = wait_for("the simulated worker", lambda: found(log, r"listening on (\S+)", self.process))


class Router:
    """A router that was started with `--log-format json`."""

    def __init__(self, stack, command, log, token=None, **options):
        self.log_path = log
        # What operators show, if they have to.
        self.shown = {"authorization": f"Bearer {token}"} if token else {}
        self.process = start(stack, [*command, "--log-format", "json"], log, **options)
        addresses = wait_for("the router's start", self._addresses)
        self.url, self.metrics, self.admin = (f"http://{addresses[key]}" for key in ("clients", "metrics", "admin"))

    def _addresses(self):
        ended(self.process, self.log_path)
        for line in lines(self.log_path):
            fields = json.loads(line)["fields"]
            if "clients" in fields:
                # Where it listens everywhere, loopback is one of the places.
                return {key: str(value).replace("0.0.0.0", "127.0.0.1") for key, value in fields.items()}
        return None

    def wait_until_ready(self, workers=1):
        """Waits until so many workers may be chosen."""

        def healthy():
            ended(self.process, self.log_path)
            return sum(worker["healthy"] for worker in json.loads(ask(f"{self.admin}/workers", headers=self.shown)[2])["workers"])

        wait_for(f"the first health checks of {workers} workers", lambda: healthy() >= workers)

    def says(self, text):
        """Waits until the log has a line with this text."""
        wait_for(f"a line of the log with {text!r}", lambda: any(text in line for line in lines(self.log_path)))

    def end(self):
        """Ends it as a service manager does; gives the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(LONGEST_WAIT_S)


def lines(path):
    """The whole lines of a file that somebody writes."""
    with open(path) as file:
        text = file.read()
    return text[: text.rfind("\n") + 1].splitlines()


def found(log, pattern, process):
    ended(process, log)
    match = re.search(pattern, "\n".join(lines(log)))
    return match and match.group(1)


def ended(process, log):
    if process.poll() is not None:
        raise RuntimeError(f"{process.args} ended with {process.returncode}:\n" + "\n".join(lines(log)))


def is_root():
    return os.getuid() == 0

"""A router as a process of a Python program."""

from __future__ import annotations

import atexit
import collections
import json
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

from .program import find_program

# Where each listener's port comes from if no flag names one: any free port.
PORTS = ("--port", "--prometheus-port", "--admin-port")
# Lines of the log that an error shows.
SHOWN_LINES = 20


class RouterError(RuntimeError):
    """The router did not start; the text has what it said."""


class Router:
    """A running router. `url` is for clients, `admin_url` for operators, `metrics_url` for Prometheus;
    `process` is its `subprocess.Popen`."""

    def __init__(self, process: subprocess.Popen) -> None:
        self.process = process
        self.url = self.admin_url = self.metrics_url = ""
        self._serves = threading.Event()
        self._last_lines: collections.deque[str] = collections.deque(maxlen=SHOWN_LINES)
        self._reader = threading.Thread(target=self._read_log, daemon=True)
        self._reader.start()

    @classmethod
    def start(cls, *flags: str, wait_for_workers: bool = True, timeout: float = 60) -> Router:
        """Starts a router with flags of `sgl-router serve`, and waits until a worker passes its checks,
        or until it serves. Raises `RouterError` if that takes longer than `timeout` seconds."""
        command = [find_program(), "serve", *map(str, flags), "--log-format", "json"]
        for port in PORTS:
            if not any(flag == port or flag.startswith(f"{port}=") for flag in command):
                command += [port, "0"]
        router = cls(subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace"))
        atexit.register(router.stop)
        try:
            router._wait(wait_for_workers, time.monotonic() + timeout)
        except BaseException:
            router.stop(timeout=5)
            raise
        return router

    def stop(self, timeout: float = 90) -> int:
        """Ends the router: requests in flight have time to finish (--shutdown-timeout-secs); after `timeout`
        seconds it is killed. Gives its exit code. May be called again."""
        atexit.unregister(self.stop)
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(timeout)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self._reader.join()
        self.process.stderr.close()
        return self.process.returncode

    def __enter__(self) -> Router:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _read_log(self) -> None:
        """Passes the log on, and finds where the router listens."""
        for line in self.process.stderr:
            self._last_lines.append(line)
            sys.stderr.write(line)
            if not self._serves.is_set():
                self._look_for_addresses(line)
        # Who waits for it to serve is to learn that it never will.
        self._serves.set()

    def _look_for_addresses(self, line: str) -> None:
        try:
            fields = json.loads(line)["fields"]
            addresses = [fields[name] for name in ("clients", "admin", "metrics")]
        except (ValueError, KeyError, TypeError):
            return
        # One that listens at all addresses is reached at loopback, too.
        reachable = [address.replace("0.0.0.0:", "127.0.0.1:").replace("[::]:", "[::1]:") for address in addresses]
        self.url, self.admin_url, self.metrics_url = (f"http://{address}" for address in reachable)
        self._serves.set()

    def _wait(self, for_workers: bool, deadline: float) -> None:
        self._serves.wait(max(0.0, deadline - time.monotonic()))
        if not self.url:
            # Its last words, if it ended.
            self._reader.join(1)
            raise RouterError(f"the router did not start:\n{''.join(self._last_lines)}")
        while for_workers:
            ready, answer = self._readiness()
            if ready:
                return
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RouterError(f"the router is not ready: {answer}")
            time.sleep(0.05)

    def _readiness(self) -> tuple[bool, str]:
        try:
            with urllib.request.urlopen(f"{self.url}/readiness", timeout=5) as answer:
                return True, answer.read().decode()
        except urllib.error.HTTPError as error:
            return False, error.read().decode()
        except OSError as error:
            return False, str(error)

"""What the tests with real engines share: processes, a router, a client, a tap, and the checks' run.

Only Python's own library. Everything listens on loopback, and everything that was started is ended.
"""

import http.client
import json
import os
import pathlib
import random
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from contextlib import ExitStack

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from processes import LONGEST_WAIT_S, wait_for  # noqa: E402


def free_port(count=1):
    """A free port, the first of so many in a row: below those that the system gives to connections, since an
    engine binds its own up to a minute later."""
    while True:
        first = random.randrange(20_000, 32_000)
        with ExitStack() as stack:
            try:
                for port in range(first, first + count):
                    stack.enter_context(socket.socket()).bind(("", port))
            except OSError:
                continue
            return first


# --- processes -----------------------------------------------------------------------------


def start(stack, command, log, **options):
    """Starts a process in a session of its own, which ends with `stack`."""
    process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True, **options)
    stack.callback(end, process)
    return process


def session_of(pid):
    """The processes of a session: engines leave some behind when their first one is killed."""
    members = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            with open(f"/proc/{entry}/stat") as file:
                # The name is in brackets and may hold anything; the session is the fourth after it.
                fields = file.read().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == pid and fields[0] != "Z":
            members.append(int(entry))
    return members


def kill_session(pid):
    """SIGKILL to each process of a session, by its number."""
    for member in session_of(pid):
        try:
            os.kill(member, signal.SIGKILL)
        except ProcessLookupError:
            pass


def end(process):
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            pass
    kill_session(process.pid)
    process.wait()


# --- the router ----------------------------------------------------------------------------


class Router:
    """A router in front of these workers, on free ports."""

    def __init__(self, stack, binary, directory, workers, *flags, expected=None):
        """`expected`: how many workers the flags bring, if there are none else."""
        self.log_path = os.path.join(directory, f"router-{free_port()}.log")
        command = [binary, "serve", "--log-format", "json", "--port", "0", "--prometheus-port", "0"]
        command += ["--admin-port", "0", "--worker-header", *flags]
        if "--health-check-interval-secs" not in flags:
            command += ["--health-check-interval-secs", "1"]
        log = stack.enter_context(open(self.log_path, "w"))
        self.process = start(stack, command + (["--worker-urls", *workers] if workers else []), log)
        addresses = wait_for("the router's start", self.addresses)
        self.host, self.metrics_host, self.admin_host = (addresses[key] for key in ("clients", "metrics", "admin"))
        self.url = f"http://{self.host}"
        wait_for("health of all workers", lambda: self.healthy() == (expected or len(workers)))

    def addresses(self):
        if self.process.poll() is not None:
            raise RuntimeError(f"the router ended with {self.process.returncode}:\n{self.log()}")
        lines = [line for line in self.log().splitlines() if '"clients"' in line and line.endswith("}")]
        return json.loads(lines[0])["fields"] if lines else None

    def log(self):
        with open(self.log_path) as file:
            return file.read()

    def workers(self):
        return json.loads(ask(self.admin_host, "GET", "/workers").body)["workers"]

    def healthy(self):
        return sum(worker["healthy"] for worker in self.workers())

    def metric(self, start):
        """The sum of the samples that begin like this; 0 if there are none."""
        lines = ask(self.metrics_host, "GET", "/metrics").body.decode().splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(start))


# --- clients -------------------------------------------------------------------------------


class Answer:
    """A whole answer; `broken` says why it is not."""

    def __init__(self, status, headers, body, broken=None):
        self.status, self.headers, self.body, self.broken = status, headers, body, broken

    def __repr__(self):
        return f"{self.status} {self.broken or ''} {self.body[:300]!r}"

    def events(self):
        """The data of the events of a stream."""
        lines = self.body.decode().splitlines()
        return [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]

    def is_complete_stream(self):
        return self.status == 200 and not self.broken and self.events()[-1:] == ["[DONE]"]


def connect(host, seconds=LONGEST_WAIT_S):
    return http.client.HTTPConnection(host.removeprefix("http://"), timeout=seconds)


def send(connection, method, path, body=None, headers=None):
    body = json.dumps(body).encode() if isinstance(body, dict) else body
    headers = {"content-type": "application/json", **(headers or {})}
    connection.request(method, path, body, headers if body is not None else {})
    return connection.getresponse()


def whole(response):
    headers = response.getheaders()
    try:
        return Answer(response.status, headers, response.read())
    except http.client.IncompleteRead as error:
        return Answer(response.status, headers, error.partial, f"broke off: {error}")
    except (OSError, http.client.HTTPException) as error:
        return Answer(response.status, headers, b"", f"broke off: {error!r}")


def ask(host, method, path, body=None, headers=None, seconds=LONGEST_WAIT_S):
    """A request over a connection of its own. What goes wrong is status 0."""
    connection = connect(host, seconds)
    try:
        return whole(send(connection, method, path, body, headers))
    except (OSError, http.client.HTTPException) as error:
        return Answer(0, [], b"", repr(error))
    finally:
        connection.close()


def chat(text="hi", tokens=8, stream=False, **more):
    messages = [{"role": "user", "content": text}]
    return {"model": "tiny", "messages": messages, "max_tokens": tokens, "stream": stream, **more}


CHAT = "/v1/chat/completions"


def all_at_once(count, work):
    """`work(0)` to `work(count - 1)` on a thread each; their results in order."""
    results, failures = [None] * count, []

    def one(number):
        try:
            results[number] = work(number)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=one, args=(number,), daemon=True) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(2 * LONGEST_WAIT_S)
    assert not any(thread.is_alive() for thread in threads), "requests hang"
    if failures:
        raise failures[0]
    return results


# --- a tap ---------------------------------------------------------------------------------


class Tap:
    """Passes connections on to an engine, counts them, and keeps what the engine answers to the last POST:
    the router has questions of its own, over other connections and at any time."""

    def __init__(self, stack, target):
        self.target = ("127.0.0.1", int(target.rsplit(":", 1)[1]))
        self.listener = socket.create_server(("127.0.0.1", 0))
        stack.callback(self.listener.close)
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.connections, self.heard = 0, bytearray()
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
                engine = socket.create_connection(self.target)
            except OSError:
                return
            self.connections += 1
            answer = bytearray()
            asked = lambda piece, answer=answer: self.ask(piece, answer)
            threading.Thread(target=self.pass_on, args=(client, engine, asked), daemon=True).start()
            threading.Thread(target=self.pass_on, args=(engine, client, answer.extend), daemon=True).start()

    def ask(self, piece, answer):
        if piece.startswith(b"POST "):
            answer.clear()
            self.heard = answer

    @staticmethod
    def pass_on(source, target, hear):
        try:
            while piece := source.recv(65536):
                hear(piece)
                target.sendall(piece)
        except OSError:
            pass
        for end in (source, target):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


class Recorded:
    """A socket that holds what was recorded, for http.client to read."""

    def __init__(self, data):
        self.data = data

    def makefile(self, *_):
        import io

        return io.BytesIO(self.data)


def recorded_answer(data):
    response = http.client.HTTPResponse(Recorded(bytes(data)))
    response.begin()
    return whole(response)


# --- the run -------------------------------------------------------------------------------


def run(checks, log, word=""):
    """Runs the methods named check_…word… in the order of their classes, the base first; the number of those that failed."""
    passed = failed = 0
    names = [name for kind in reversed(type(checks).__mro__) for name in vars(kind)]
    for name in [name for name in names if name.startswith("check_") and word in name]:
        title, began = name.removeprefix("check_").replace("_", " "), time.monotonic()
        try:
            said = getattr(checks, name)()
        except Exception:
            failed += 1
            print(f"FAILED  {title}")
            traceback.print_exc(file=sys.stdout)
        else:
            passed += 1
            print(f"ok      {title} ({time.monotonic() - began:.1f} s){': ' + said if said else ''}")
        sys.stdout.flush()
    if failed:
        print(f"--- the router's log ---\n{log()[-20000:]}---")
    print(f"{passed} checks passed, {failed} failed")
    return failed if passed else 1


def main(body):
    """Runs `body` with a stack that ends everything; signals end it as errors do."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(1))
    with ExitStack() as stack:
        failed = body(stack)
    sys.exit(1 if failed else 0)

"""Compares how a simulated worker ends on SIGTERM with how the engine ends whose dialect it speaks."""

import http.client
import signal
import socket
import threading
import time

from drift import compare_answers
from harness import CHAT, Answer, ask, chat, connect, send, wait_for, whole

# Longer than an engine pauses between two tokens, and than SGLang looks for what is left.
SILENCE_S = 5


def end_of(answer):
    """What became of a request."""
    if answer.broken:
        return "broken off"
    if answer.status != 200:
        return f"status {answer.status}"
    if b'"error"' in answer.body:
        return "told of an error"
    return "cut short" if b'"abort"' in answer.body else "complete"


class UnderWay:
    """A plain request and a stream of so many tokens, which a worker serves by now."""

    def __init__(self, one, tokens):
        self.ends, self.connections, self.bytes, begun = {}, [], 0, threading.Event()

        def plain():
            self.ends["plain request"] = end_of(self.send(one, tokens, False, whole))

        def stream():
            self.ends["stream"] = end_of(self.send(one, tokens, True, watched))

        def watched(response):
            lines = []
            # Line by line: what comes is counted while it comes.
            while line := response.readline():
                lines.append(line)
                self.bytes += len(line)
                begun.set()
            answer = Answer(response.status, [], b"".join(lines))
            return answer if answer.is_complete_stream() else Answer(response.status, [], answer.body, "no end")

        self.threads = [threading.Thread(target=work, daemon=True) for work in (plain, stream)]
        for thread in self.threads:
            thread.start()
        assert begun.wait(60) and not self.ends, f"both are under way: {self.ends}"

    def send(self, one, tokens, stream, read):
        connection = connect(one.url, 120)
        self.connections.append(connection)
        try:
            return read(send(connection, "POST", CHAT, chat("under way", tokens, stream, ignore_eos=True)))
        except (OSError, http.client.HTTPException) as error:
            return Answer(0, [], b"", repr(error))

    def outcome(self):
        """How both end, at their own time."""
        for thread in self.threads:
            thread.join(120)
        return self.ends

    def is_silent(self):
        """Whether both are open, and nothing comes any more."""
        before = self.bytes
        time.sleep(SILENCE_S)
        return not self.ends and self.bytes == before

    def hang_up(self):
        for connection in self.connections:
            try:
                connection.sock.shutdown(socket.SHUT_RDWR)
            except (AttributeError, OSError):
                # It is over.
                pass


def looks(one, paths):
    """What a worker answers: what it is asked for its state, and new requests."""
    told = {f"GET {path}": ask(one.url, "GET", path) for path in paths}
    return told | {f"a new request, stream {stream}": ask(one.url, "POST", CHAT, chat(stream=stream)) for stream in (False, True)}


def told_to_end(one, tokens, paths):
    """SIGTERM while a worker serves; the requests under way, and what it answered in between."""
    ready = [answer.status for answer in looks(one, paths).values()]
    under_way = UnderWay(one, tokens)
    one.signal(signal.SIGTERM)
    # One of them tells that it has heard the signal.
    wait_for("another answer than before", lambda: [answer.status for answer in looks(one, paths).values()] != ready)
    answers = looks(one, paths)
    assert not under_way.ends, f"still under way: {under_way.ends}"
    return under_way, answers


def is_closed(one):
    return ask(one.url, "GET", "/health").status == 0


def drained(one, tokens, paths):
    """How a worker ends that is given the time for what it serves: answers in between, and what came of all."""
    under_way, answers = told_to_end(one, tokens, paths)
    ends = dict(under_way.outcome())
    wait_for("its end", lambda: not one.is_running())
    return answers, ends | {"port closed": is_closed(one)}


def cut_off(one, tokens, paths):
    """How a worker ends that is not given it."""
    under_way, answers = told_to_end(one, tokens, paths)
    wait_for("a closed port", lambda: is_closed(one))
    said = {"silent": under_way.is_silent(), "runs": one.is_running()}
    under_way.hang_up()
    wait_for("its end once nobody listens", lambda: not one.is_running())
    return answers, said


def compare_ends(end, real, simulated, tokens, paths):
    """Ends both in one of these ways; what differs, and what the engine did."""
    (answers, said), (other_answers, others) = [end(one, count, paths) for one, count in zip((simulated, real), tokens)]
    found = []
    for title, answer in answers.items():
        place = title if title.startswith("GET ") else f"POST {CHAT}"
        found += compare_answers(real.kind, place, answer, other_answers[title], what=f", told to end: {title}")
    found += [f"told to end: {what} {one}, and the engine {others[what]}" for what, one in said.items() if one != others[what]]
    statuses = ", ".join(f"{title} {answer.status}" for title, answer in other_answers.items())
    return found, f"{statuses}; {', '.join(f'{what} {one}' for what, one in others.items())}"

"""End-to-end test with llama.cpp's own server, an engine that nobody here wrote.

usage: llama.py SGL_ROUTER_BINARY MODEL.gguf

Starts two engines and routers in front of them, all on free ports. Prints a line for each check;
exits with 1 if one failed. Leaves no process running, whatever happens.
"""

import os
import signal
import sys
import tempfile
import time

from drift import Simulated, advertised, compare, compare_engine, published, while_busy
from harness import CHAT, Router, Tap, all_at_once, ask, chat, connect, main, recorded_answer
from harness import run, send, start, wait_for, whole

# What belongs to one connection, not to an answer. Framing is each hop's own.
HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding"}
SLOTS = 2
CONTEXT = 60_000


class Engine:
    """One llama.cpp; it can be killed and started again at its port."""

    kind = "llamacpp"

    def __init__(self, stack, model, directory, name):
        self.stack, self.model, self.log_path = stack, model, os.path.join(directory, f"{name}.log")
        self.port = 0
        self.process = None
        self.start()

    def start(self):
        server = os.path.join(os.path.dirname(os.path.abspath(__file__)), "llama_server.py")
        command = [sys.executable, server, self.model, str(SLOTS), str(CONTEXT), str(self.port)]
        log = self.stack.enter_context(open(self.log_path, "w"))
        self.process = start(self.stack, command, log)
        self.url = wait_for("llama.cpp's start", self.address)
        self.port = int(self.url.rsplit(":", 1)[1])
        wait_for("llama.cpp's health", lambda: ask(self.url, "GET", "/health").status == 200)

    def address(self):
        assert self.process.poll() is None, open(self.log_path).read()
        lines = [line for line in open(self.log_path) if line.startswith("listening on ") and line.endswith("\n")]
        return lines[0].split()[-1] if lines else None

    def kill(self):
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def metric(self, name):
        for line in ask(self.url, "GET", "/metrics").body.decode().splitlines():
            if line.startswith(f"llamacpp:{name} "):
                return float(line.split()[1])
        raise AssertionError(f"llama.cpp has no metric {name}")


class Checks:
    """Every method named check_… is a check; they run in the order of this file."""

    def __init__(self, stack, binary, directory, engines):
        self.stack, self.binary, self.directory, self.engines = stack, binary, directory, engines
        self.router = self.over([engine.url for engine in engines], "--cb-timeout-duration-secs", "1")

    def over(self, urls, *flags):
        return Router(self.stack, self.binary, self.directory, urls, *flags)

    def check_answers_are_passed_on_to_the_byte(self):
        tap = Tap(self.stack, self.engines[0].url)
        router = self.over([tap.url], "--health-check-interval-secs", "0")
        requests = [
            (CHAT, chat()),
            (CHAT, chat(stream=True)),
            (CHAT, chat(tokens=200, stream=True, stream_options={"include_usage": True})),
            (CHAT, chat(logprobs=True, top_logprobs=2)),
            (CHAT, chat(n=2)),
            (CHAT, chat(tools=[{"type": "function", "function": {"name": "f", "parameters": {}}}])),
            ("/v1/completions", {"prompt": "Once", "max_tokens": 5}),
            ("/v1/completions", {"prompt": [79, 110, 99, 101], "max_tokens": 5, "stream": True}),
            ("/v1/completions", {"prompt": ["One", "Two"], "max_tokens": 2}),
            (CHAT, b'{"mess'),
            (CHAT, {"messages": "none"}),
            (CHAT, chat(response_format={"type": "nonsense"})),
            ("/v1/embeddings", {"input": "a"}),
        ]
        statuses = []
        for path, body in requests:
            through = ask(router.host, "POST", path, body)
            direct = recorded_answer(tap.heard)
            assert through.status == direct.status and through.body == direct.body, (path, body, direct, through)
            # llama.cpp sends no date, and a proxy may add one.
            ours = {"x-sgl-worker", "x-sgl-request-id", "date"}
            lowered = [[(k.lower(), v) for k, v in answer.headers] for answer in (direct, through)]
            kept = [sorted(h for h in headers if h[0] not in HOP_BY_HOP | ours) for headers in lowered]
            assert kept[0] == kept[1], (path, kept)
            statuses.append(direct.status)
        assert statuses.count(200) >= 8 and 400 in statuses and 501 in statuses, statuses
        return f"{len(requests)} requests, statuses {sorted(set(statuses))}"

    def check_engine_that_closes_after_a_hundred_requests_and_after_five_seconds_is_not_noticed(self):
        tap = Tap(self.stack, self.engines[0].url)
        router = self.over([tap.url], "--health-check-interval-secs", "0")
        connection = connect(router.host)

        def again(connection, tokens=1):
            answer = whole(send(connection, "POST", CHAT, chat(tokens=tokens)))
            assert answer.status == 200 and not answer.broken, answer

        for _ in range(450):
            again(connection)
        busy = tap.connections
        assert busy >= 5, f"llama.cpp closes after 100 requests, so there are 5 connections at least, not {busy}"
        # Around the moment when llama.cpp closes what is idle; long enough for each to need its own.
        waits = [4.97 + number * 0.005 for number in range(12)]
        clients = [connect(router.host) for _ in waits]
        all_at_once(len(clients), lambda number: again(clients[number], 300))
        warm = tap.connections
        all_at_once(len(clients), lambda number: (time.sleep(waits[number]), again(clients[number], 300)))
        return f"{busy} connections for 450 requests, {tap.connections - warm} more for 12 after 5 idle seconds"

    def check_simulated_worker_speaks_as_llama_cpp(self):
        real = self.engines[0]
        simulated = Simulated(self.stack, self.binary, self.directory, "llamacpp", "--max-running", str(SLOTS))
        found = compare_engine("llamacpp", real, simulated)
        found += compare(real, simulated, [("POST", "/v1/embeddings", {"input": "a"}), ("GET", "/v1/completions", None)])
        assert not found, "\n".join(found)

        def deferred(one):
            lines = ask(one.url, "GET", "/metrics").body.decode().splitlines()
            return any(line.startswith("llamacpp:requests_deferred ") and line != "llamacpp:requests_deferred 0" for line in lines)

        # Who finds no slot waits, without a head: neither refuses.
        for one in (simulated, real):
            while_busy(one, SLOTS + 1, 50_000, lambda: wait_for("a request that waits", lambda: deferred(one)))

    def check_libzmq_receives_what_simulated_workers_publish(self):
        said = []
        for engine in ("vllm", "sglang"):
            flags = ["--kv-events", "auto", *(["--push-load"] if engine == "sglang" else [])]
            simulated = Simulated(self.stack, self.binary, self.directory, engine, *flags)
            got = published(sys.executable, simulated.url, *advertised(engine, simulated.url))
            assert got["frames"] == [0, 8, "some"] and got["last_frames"] == [0, 0, 8, 0], got
            assert got["events"][0]["type"] == "BlockStored", got
            assert bool(got["load"]) == (engine == "sglang"), got
            said.append(f"{engine}: {len(got['events'])} events")
        return ", ".join(said)

    def check_more_streams_than_slots_are_all_complete(self):
        def stream(number):
            return ask(self.router.host, "POST", CHAT, chat(f"stream {number}", tokens=60, stream=True))

        answers = all_at_once(40, stream)
        assert all(answer.is_complete_stream() for answer in answers), [a for a in answers if a.broken or a.status != 200]
        urls = {dict(answer.headers)["x-sgl-worker"] for answer in answers}
        assert len(urls) == 2, urls

    def check_what_an_engine_does_not_have_does_not_take_it_out(self):
        # More for each engine than may fail in a row.
        for _ in range(24):
            answer = ask(self.router.host, "POST", "/v1/embeddings", {"input": "a"})
            assert answer.status == 501, answer
        assert self.router.healthy() == 2, self.router.workers()
        for _ in range(4):
            answer = ask(self.router.host, "POST", CHAT, chat())
            assert answer.status == 200, answer

    def check_hanging_up_stops_the_engine(self):
        tokens = 50_000
        before = sum(engine.metric("tokens_predicted_total") for engine in self.engines)
        connection = connect(self.router.host)
        response = send(connection, "POST", CHAT, chat(tokens=tokens, stream=True, ignore_eos=True))
        assert response.status == 200 and response.read(500)
        connection.close()
        response.close()
        idle = lambda: all(engine.metric("requests_processing") == 0 for engine in self.engines)
        wait_for("the end of the request", idle)
        # It counts them when a request has ended.
        made = sum(engine.metric("tokens_predicted_total") for engine in self.engines) - before
        assert made < tokens, f"the engine went on to the end: {made} tokens"

    def check_killed_engine_costs_no_request_that_had_no_answer(self):
        killed = self.engines[1]
        count = 60

        def request(number):
            # They keep coming while one engine goes.
            time.sleep(number * 0.01)
            if number == count // 3:
                killed.kill()
            stream = number % 2 == 1
            return ask(self.router.host, "POST", CHAT, chat(f"request {number}", tokens=300, stream=stream))

        answers = all_at_once(count, request)
        whole_ones = [answer for number, answer in enumerate(answers) if number % 2 == 0]
        assert all(answer.status == 200 and not answer.broken for answer in whole_ones), whole_ones
        streams = [answer for number, answer in enumerate(answers) if number % 2 == 1]
        # A stream that has begun cannot be begun again elsewhere; it breaks off, it does not end.
        assert all(answer.status == 200 for answer in streams), streams
        broken = [answer for answer in streams if not answer.is_complete_stream()]
        assert all(answer.broken and "[DONE]" not in answer.events() for answer in broken), broken
        after = [ask(self.router.host, "POST", CHAT, chat()) for _ in range(10)]
        assert all(answer.status == 200 for answer in after), after
        killed.start()
        wait_for("the engine's return", lambda: self.router.healthy() == 2)
        urls = {dict(ask(self.router.host, "POST", CHAT, chat()).headers)["x-sgl-worker"] for _ in range(8)}
        assert len(urls) == 2, urls
        return f"{len(broken)} of {len(streams)} streams were under way and broke off"

    def check_router_ends_well(self):
        self.router.process.send_signal(signal.SIGTERM)
        assert self.router.process.wait(30) == 0


def body(stack):
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    directory = stack.enter_context(tempfile.TemporaryDirectory())
    engines = [Engine(stack, sys.argv[2], directory, name) for name in ("one", "two")]
    checks = Checks(stack, sys.argv[1], directory, engines)
    return run(checks, checks.router.log)


main(body)

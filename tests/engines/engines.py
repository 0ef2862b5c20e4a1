"""End-to-end test with real vLLM and SGLang on the CPU, and with the benchmarks that people run on them.

usage: engines.py SGL_ROUTER_BINARY DIR [WORD]

DIR is what setup.sh made; with WORD, only the checks run whose names contain it. Three engines run at
most at a time (9 GB). Prints a line for each check; exits with 1 if one failed. Leaves no process running, whatever happens.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from functools import cached_property

from drift import Simulated, advertised, compare_engine, compare_published, compare_refusals, published
from ends import compare_ends, cut_off, drained
from engine import HERE, Engine
from harness import CHAT, Router, all_at_once, ask, chat, connect, main, run, send, wait_for, whole
from outcomes import Outcomes
from pairs import Pairs
from prediction import Prediction
from ranks import Ranks
from sight import Sight

# Of one tool: it sends some dozens of short requests.
TOOL_S = 300
LONG = 3500


class Checks(Prediction, Pairs, Ranks, Sight, Outcomes):
    """Every method named check_… is a check; they run in the order of this file, those of outcomes.py, sight.py,
    ranks.py, pairs.py and prediction.py first."""

    def __init__(self, stack, binary, directory, logs):
        self.stack, self.binary, self.directory, self.logs = stack, binary, directory, logs
        self.routers = []

    def engine(self, kind, *flags):
        return Engine(self.stack, self.directory, kind, *flags)

    # Started when they are first asked for.
    roomy = cached_property(lambda self: self.engine("vllm", "--shutdown-timeout", "25"))
    tight = cached_property(lambda self: self.engine("vllm", "--max-num-seqs", "1", "--max-num-queued-reqs", "1"))
    full = cached_property(lambda self: self.engine("sglang", "--max-running-requests", "1", "--max-queued-requests", "1",
                                                      "--kv-events-config", json.dumps(self.kv_events(publisher="zmq")),
                                                      "--load-publish-endpoint", "auto", "--enable-cache-report"))
    second = cached_property(lambda self: self.engine("vllm", "--enable-prompt-tokens-details", "--kv-events-config", json.dumps(self.kv_events())))
    third = cached_property(lambda self: self.engine("vllm"))
    fourth = cached_property(lambda self: self.engine("vllm"))

    def simulated(self, engine, *flags):
        return Simulated(self.stack, self.binary, self.logs, engine, *flags)

    def python(self, kind):
        return os.path.join(self.directory, f"v-{kind}", "bin", "python")

    def end(self, *names):
        """Ends those of these engines that were started, to make room."""
        for name in names:
            if engine := vars(self).get(name):
                engine.end()

    def over(self, *engines, policy="round_robin"):
        urls = [engine.url for engine in engines]
        router = Router(self.stack, self.binary, self.logs, urls, "--policy", policy)
        self.routers.append(router)
        return router

    def behind(self, engines, plugin, **config):
        """A router whose policy is a plugin: one that this test wrote beside its logs, or one of the repository's."""
        directory = os.path.join(self.logs, f"plugins-{len(self.routers)}")
        os.mkdir(directory)
        made = os.path.join(HERE, "..", "..", "dist")
        places = [os.path.join(place, plugin + ".wasm") for place in (self.logs, f"{made}/plugins", f"{made}/fixtures")]
        shutil.copy(next(filter(os.path.exists, places)), directory)
        with open(os.path.join(directory, plugin + ".toml"), "w") as file:
            # Engines beside it keep all cores busy: what a plugin takes is measured elsewhere.
            file.writelines(["max_execution_time_ms = 1000\n", "[config]\n", *(f"{key} = {value}\n" for key, value in config.items())])
        router = Router(self.stack, self.binary, self.logs, [engine.url for engine in engines], "--policy", plugin,
                        "--plugin-dir", directory, "--record-header", "--record-sample", "1")
        self.routers.append(router)
        return router

    def log(self):
        return "".join(router.log() for router in self.routers)

    # --- simulated engines ---

    def check_simulated_worker_speaks_as_vllm(self):
        real = self.second
        simulated = self.simulated("vllm", "--kv-events", "auto")
        found = compare_engine("vllm", real, simulated)
        ours, others = (published(self.python("vllm"), url, *advertised("vllm", url)) for url in (simulated.url, real.url))
        found += compare_published("vllm", ours, others)
        # vLLM counts those that run too.
        differs, simulated_events, events = compare_refusals(
            self.tight, self.simulated("vllm", "--max-running", "1", "--max-queued", "0", "--time-scale", "1"), LONG)
        found += differs
        assert not found, "\n".join(found)
        return f"{len(others['events'])} events; refused in bursts: {events} streams, simulated {simulated_events}"

    def check_simulated_worker_speaks_as_sglang(self):
        real = self.full
        simulated = self.simulated("sglang", "--kv-events", "auto", "--push-load")
        found = compare_engine("sglang", real, simulated)
        ours, others = (published(self.python("sglang"), url, *advertised("sglang", url)) for url in (simulated.url, real.url))
        found += compare_published("sglang", ours, others)
        differs, *_ = compare_refusals(
            real, self.simulated("sglang", "--max-running", "1", "--max-queued", "1", "--time-scale", "1"), LONG)
        found += differs
        assert not found, "\n".join(found)
        return f"{len(others['events'])} events"

    def check_simulated_worker_ends_as_vllm(self):
        self.end("roomy", "tight", "second")
        paths, said = ("/health", "/v1/models", "/version"), []
        # What runs ends within the first time, and not within the second; how it ends then is a race between vLLM's
        # processes, of which the simulation has the silence.
        for end, seconds, tokens, starts in ((drained, 60, 600, 1), (cut_off, 3, LONG, 3)):
            for _ in range(starts):
                real = self.engine("vllm", "--shutdown-timeout", str(seconds))
                simulated = self.simulated("vllm", "--shutdown-grace-ms", str(seconds * 1000), "--time-scale", "1")
                found, did = compare_ends(end, real, simulated, (600, tokens), paths)
                real.end()
                said.append(did)
                if not found:
                    break
            assert not found, "\n".join(found)
        return " | ".join(said)

    def check_simulated_worker_ends_as_sglang(self):
        self.end("roomy", "tight", "second", "full")
        real = self.engine("sglang")
        simulated = self.simulated("sglang", "--shutdown-grace-ms", "60000", "--time-scale", "1")
        found, did = compare_ends(drained, real, simulated, (600, 600), ("/health", "/ready", "/v1/models", "/v1/loads"))
        assert not found, "\n".join(found)
        return did

    # --- full engines ---

    def streams_beside(self, full, policy):
        """Streams that a full engine refuses, while another has room."""
        router = self.over(full, self.roomy, policy=policy)
        answers = all_at_once(30, lambda n: ask(router.host, "POST", CHAT, chat(f"s {n}", 40, True, ignore_eos=True)))
        bad = [answer for answer in answers if not answer.is_complete_stream() or b'"error"' in answer.body]
        assert not bad, f"{len(bad)} of {len(answers)}, such as {bad[0]}"
        refused = router.metric('sgl_router_retries_total{reason="full"}')
        assert refused, "the full one refused some"
        by = [dict(answer.headers)["x-sgl-worker"] for answer in answers]
        return f"the full one served {by.count(full.url)} of {len(by)}, and refused {refused:.0f} times"

    def check_streams_that_a_full_vllm_refuses_go_elsewhere(self):
        return self.streams_beside(self.tight, "round_robin")

    def check_streams_that_a_full_sglang_refuses_go_elsewhere(self):
        try:
            return self.streams_beside(self.full, "least_load")
        finally:
            # Idle, it keeps a core busy.
            self.end("full")

    def check_full_engine_is_not_taken_out(self):
        router = self.over(self.tight)
        answers = all_at_once(60, lambda n: ask(router.host, "POST", CHAT, chat(f"p {n}", 150, ignore_eos=True)))
        statuses = {status: sum(a.status == status for a in answers) for status in {a.status for a in answers}}
        assert set(statuses) <= {200, 503} and statuses.get(200), statuses
        own = [a for a in answers if a.status == 503 and b"no_worker_available" in a.body]
        assert not own, f"the engine's own answer is told, not {own[0]}"
        wait_for("an idle engine", lambda: self.tight.metric("vllm:num_requests_running") == 0)
        after = [ask(router.host, "POST", CHAT, chat()) for _ in range(5)]
        assert all(answer.status == 200 for answer in after), after
        return str(statuses)

    # --- clients ---

    def check_hanging_up_stops_the_engine(self):
        router = self.over(self.roomy)
        before = self.roomy.metric("vllm:generation_tokens_total")
        for stream in (True, False):
            connection = connect(router.host)
            if stream:
                response = send(connection, "POST", CHAT, chat(tokens=LONG, stream=True, ignore_eos=True))
                assert response.status == 200 and response.readline()
                response.close()
            else:
                body = json.dumps(chat(tokens=LONG, ignore_eos=True))
                connection.request("POST", CHAT, body, {"content-type": "application/json"})
                wait_for("its start", lambda: self.roomy.metric("vllm:num_requests_running") == 1)
            connection.close()
            wait_for("the end of the request", lambda: self.roomy.metric("vllm:num_requests_running") == 0)
        made = self.roomy.metric("vllm:generation_tokens_total") - before
        assert made < LONG, f"{made} tokens"
        return f"{made:.0f} of {2 * LONG} tokens were made"

    def tool(self, name, *arguments):
        """Runs a benchmark as its users do; what it printed."""
        path = os.path.join(self.directory, f"v-{name}", "bin")
        environment = os.environ | {"PATH": f"{path}:{os.environ['PATH']}"}
        # aiperf takes no local tokenizer while these are set, whatever to; the others need no hub for one.
        # Without bytecode they take half a minute to start.
        for variable in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "PYTHONDONTWRITEBYTECODE"):
            environment.pop(variable, None)
        done = subprocess.run([name, *arguments], env=environment, cwd=self.logs, timeout=TOOL_S, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        assert done.returncode == 0, done.stdout[-3000:]
        return done.stdout

    def read(self, *names):
        with open(os.path.join(self.logs, *names)) as file:
            return json.load(file)

    def check_vllm_bench_serve_ends_without_an_error(self):
        router = self.over(self.roomy, self.tight)
        said = []
        for backend, path in (("openai-chat", CHAT), ("openai", "/v1/completions")):
            self.tool("vllm", "bench", "serve", "--backend", backend, "--base-url", router.url, "--endpoint", path,
                      "--model", "tiny", "--tokenizer", os.path.join(self.directory, "model"),
                      "--dataset-name", "random", "--random-input-len", "32", "--random-output-len", "16",
                      "--num-prompts", "60", "--request-rate", "15", "--save-result", "--result-filename", "bench.json")
            result = self.read("bench.json")
            assert (result["completed"], result["failed"]) == (60, 0), result
            said.append(f"{backend} 60 of 60, p99 TTFT {result['p99_ttft_ms']:.0f} ms")
        return ", ".join(said)

    def check_guidellm_ends_without_an_error(self):
        router = self.over(self.roomy, self.tight)
        model = os.path.join(self.directory, "model")
        self.tool("guidellm", "run", "--backend", f"kind=openai_http,target={router.url},model=tiny",
                  "--profile", "kind=concurrent,streams=4", "--constraint", "kind=max_requests,count=40",
                  "--tokenizer", f"kind=hf_auto,model={model}",
                  "--data", "kind=synthetic_text,prompt_tokens=32,output_tokens=16",
                  "--output", f"kind=json,path={self.logs}/guidellm.json", "--disable-progress")
        totals = self.read("guidellm.json")["benchmarks"][0]["metrics"]["request_totals"]
        assert totals["successful"] == 40 and totals["errored"] == 0, totals
        return "40 of 40"

    def check_aiperf_ends_without_an_error(self):
        router = self.over(self.roomy, self.tight)
        self.tool("aiperf", "profile", "--model", "tiny", "--url", router.url, "--endpoint-type", "chat", "--streaming",
                  "--tokenizer", os.path.join(self.directory, "model"), "--concurrency", "4", "--request-count", "40", "--isl", "32", "--osl", "16",
                  "--ui", "none", "--artifact-dir", os.path.join(self.logs, "aiperf"))
        result = self.read("aiperf", "profile_export_aiperf.json")
        assert result["request_count"]["avg"] == 40 and not result.get("error_request_count"), result
        return "40 of 40"

    # --- engines that go ---

    def requests_while(self, router, seconds, leaving, number):
        """Ten requests a second, of which the first eight are long. The first long stream of the engine
        `leaving` sends it the signal `number` when it has begun. The answers to plain requests, and those
        to streams; two of the one follow two of the other, so that each of two engines gets both in turn."""
        count, lock, signalled = int(seconds * 10), threading.Lock(), []
        streams = [n % 4 > 1 for n in range(count)]

        def one(n):
            time.sleep(n / 10)
            body = chat(f"r {n}", 1500 if n < 8 else 20, streams[n], ignore_eos=True)
            if n >= 8 or not streams[n]:
                return ask(router.host, "POST", CHAT, body)
            response = send(connect(router.host), "POST", CHAT, body)
            if response.status == 200 and response.readline() and response.getheader("x-sgl-worker") == leaving.url:
                with lock:
                    if not signalled:
                        leaving.signal(number)
                        signalled.append(n)
            return whole(response)

        answers = all_at_once(count, one)
        self.retries = router.metric("sgl_router_retries_total")
        assert signalled and self.retries, "the engine that went had streams, and requests that went elsewhere"
        return [[answer for n, answer in enumerate(answers) if streams[n] == kind] for kind in (False, True)]

    def check_engine_that_drains_costs_no_request(self):
        self.end("tight")
        router = self.over(self.roomy, self.second)
        plain, streams = self.requests_while(router, 15, self.roomy, signal.SIGTERM)
        bad = [answer for answer in plain if answer.status != 200 or answer.broken]
        bad += [answer for answer in streams if not answer.is_complete_stream() or b'"error"' in answer.body]
        assert not bad, f"{len(bad)} of {len(plain + streams)}, such as {bad[:3]}"
        return f"{len(plain + streams)} requests, {self.retries:.0f} retries"

    def check_silence_after_sigterm_ends(self):
        self.end("roomy", "tight")
        router = self.over(self.second, self.third)
        count, lock, begun = 16, threading.Lock(), []

        def stream(number):
            connection = connect(router.host, 300)
            response = send(connection, "POST", CHAT, chat(f"long {number}", LONG, True, ignore_eos=True))
            assert response.status == 200 and response.readline()
            with lock:
                begun.append(number)
                # The last one to begin: none has ended yet.
                if len(begun) == count:
                    self.second.fall_silent()
                    self.signalled = time.monotonic()
            worker = dict(response.getheaders())["x-sgl-worker"]
            answer = whole(response)
            return worker, answer, time.monotonic()

        streams = all_at_once(count, stream)
        ended = [one for one in streams if one[0] == self.second.url]
        assert ended, "the engine that went had streams"
        others = [answer for worker, answer, _ in streams if worker != self.second.url]
        assert others and all(answer.is_complete_stream() for answer in others), others
        otherwise = [answer for _, answer, _ in ended if not answer.broken or b'"error"' in answer.body]
        assert not otherwise, f"broken off in silence, not by the engine: {otherwise}"
        took = max(at for _, _, at in ended) - self.signalled
        assert took < 60, f"clients waited {took:.0f} s"
        after = [ask(router.host, "POST", CHAT, chat()) for _ in range(10)]
        assert all(answer.status == 200 for answer in after), after
        return f"{len(ended)} of {count} streams were broken off, the last {took:.1f} s after the signal"

    def check_killed_engine_costs_no_request_that_had_no_answer(self):
        self.end("roomy", "tight", "second")
        router = self.over(self.third, self.fourth)
        plain, streams = self.requests_while(router, 8, self.third, signal.SIGKILL)
        bad = [answer for answer in plain if answer.status != 200 or answer.broken]
        bad += [answer for answer in streams if answer.status != 200]
        assert not bad, f"{len(bad)} of {len(plain + streams)}, such as {bad[:3]}"
        broken = [answer for answer in streams if not answer.is_complete_stream()]
        elsewhere = [answer for answer in broken if dict(answer.headers)["x-sgl-worker"] != self.third.url]
        assert broken and not elsewhere, f"streams of the killed engine break off, no others: {elsewhere}"
        return f"{len(broken)} of {len(streams)} streams were under way and broke off, {self.retries:.0f} retries"


def body(stack):
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    logs = stack.enter_context(tempfile.TemporaryDirectory())
    checks = Checks(stack, os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2]), logs)
    return run(checks, checks.log, *sys.argv[3:])


main(body)

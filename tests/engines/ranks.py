"""Checks of data-parallel ranks of real engines, each of which is a worker of its own to policies."""

import json
import os

import turns
from harness import CHAT, Router, ask, chat, connect, free_port, send, wait_for

# More than is generated before the test hangs up.
ENDLESS = 3500
REQUESTS = 40


class Ranks:
    """Part of the checks of engines.py, which has the rest of what they use."""

    def over_ranks(self, engine):
        """A router whose policy lets the ranks of an engine take turns, and declares what it wants to see of them."""
        plugin = os.path.join(self.logs, "ranks.wasm")
        with open(plugin, "wb") as file:
            file.write(turns.module(("prefix_match", "running"), "ranks"))
        router = Router(self.stack, self.binary, self.logs, [engine.url], "--dp-aware", "--policy", "ranks", "--plugin", f"ranks={plugin}",
                        "--record-header", "--record-sample", "1", "--load-interval-ms", "200")
        self.routers.append(router)
        return router

    def asked_of(self, router, answer):
        """The rank that a request was sent to, and what was known of all ranks, by their numbers."""
        assert answer.status == 200, answer
        path = "/v1/decisions/" + dict(answer.headers)["x-sgl-request-id"]
        got = wait_for("the record", lambda: (got := ask(router.admin_host, "GET", path)).status == 200 and got)
        candidates = {int(one["url"].rpartition("@")[2]): one for one in json.loads(got.body)["decisions"][-1]["candidates"]}
        return int(dict(answer.headers)["x-sgl-worker"].rpartition("@")[2]), candidates

    def ranks(self, engine, hits):
        """Requests that were decided to be for a rank are served by it and found again in its cache alone, and its load
        is its own. `hits(rank)` is how many prompt tokens the engine says that it has found there."""
        router = self.over_ranks(engine)
        [worker] = router.workers()
        urls = [one["url"] for one in worker["ranks"]]
        assert urls == [f"{engine.url}@0", f"{engine.url}@1"], worker
        wait_for("connections to both ranks' events", lambda: router.metric("sgl_router_worker_kv_sources") == 4)
        # One that the router knows nothing of: an engine that lets its ranks take turns by itself is out of step.
        assert ask(engine.url, "POST", CHAT, chat(tokens=1)).status == 200
        before, cached, believed = [hits(0), hits(1)], [0, 0], [0, 0]
        for number in range(REQUESTS):
            # Two of each prompt for each rank, of whole blocks and a rest that is computed: the first of them finds
            # nothing. Those of one rank are longer.
            size = 264 + 64 * (number % 2)
            ids = [100 + 300 * (number % 2) + 13 * (number // 4) + at % 199 for at in range(size)]
            body = {"model": "tiny", "prompt": ids, "max_tokens": 2}
            answer = ask(router.host, "POST", "/v1/completions", body, {"x-sgl-explain": "1", "x-data-parallel-rank": "0"})
            rank, candidates = self.asked_of(router, answer)
            believed[rank] += max(candidates[rank].get("prefix_match") or 0, 0)
            cached[rank] += (json.loads(answer.body)["usage"].get("prompt_tokens_details") or {}).get("cached_tokens") or 0
        counts = lambda: [hits(rank) - before[rank] for rank in (0, 1)]
        wait_for(f"the engine's own counts to be {cached}, not {counts()}", lambda: counts() == cached)
        assert min(cached) > 0 and cached[0] != cached[1], cached
        assert all(abs(one - other) <= 0.05 * other for one, other in zip(believed, cached)), (believed, cached)

        # A long answer is the load of one of them.
        stream = connect(router.host)
        response = send(stream, "POST", CHAT, chat(tokens=ENDLESS, stream=True, ignore_eos=True))
        assert response.status == 200 and response.readline(), response.status
        busy = int(response.getheader("x-sgl-worker").rpartition("@")[2])

        def seen():
            _, candidates = self.asked_of(router, ask(router.host, "POST", CHAT, chat(tokens=1), {"x-sgl-explain": "1"}))
            return candidates[busy].get("running") == 1 and candidates[1 - busy].get("running") == 0

        wait_for("the load of the rank that is busy", seen)
        stream.sock.shutdown(2)
        return f"{cached} tokens found in the caches of the ranks, {believed} believed; the load of rank {busy} was seen there"

    def events_of_ranks(self, **more):
        """Settings of publishers: each rank has the port after that of the one before it."""
        first = free_port(4)
        return json.dumps({"endpoint": f"tcp://*:{first}", "replay_endpoint": f"tcp://*:{first + 2}", "publisher": "zmq", **more})

    def check_ranks_of_vllm_are_workers(self):
        self.end("roomy", "tight", "full", "second", "third", "fourth")
        engine = self.engine("vllm", "--data-parallel-size", "2", "--enable-prompt-tokens-details",
                             "--kv-events-config", self.events_of_ranks(enable_kv_cache_events=True))
        try:
            return self.ranks(engine, lambda rank: engine.metric(f'vllm:prefix_cache_hits_total{{engine="{rank}"'))
        finally:
            engine.end()

    def check_ranks_of_sglang_are_workers(self):
        self.end("roomy", "tight", "full", "second", "third", "fourth")
        engine = self.engine("sglang", "--dp-size", "2", "--enable-cache-report", "--kv-events-config", self.events_of_ranks())
        try:
            name = 'sglang:prefill_effective_tokens_total{dp_rank="%d",engine_type="unified",mode="device_hit"'
            return self.ranks(engine, lambda rank: engine.metric(name % rank))
        finally:
            engine.end()

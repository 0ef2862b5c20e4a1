"""Checks of what policies see of real engines: signals, and what caches hold."""

import itertools
import json
import os
import time

import turns
from harness import CHAT, Router, all_at_once, ask, free_port, wait_for


class Agreement:
    """What a router believed of the engines that it chose, and what these then took from their caches."""

    def __init__(self, router, body):
        self.router, self.body = router, body
        self.asked = self.believed = self.cached = self.differ = 0
        # Prompts whose tokens the router had counted: how many, and how many the engine had.
        self.miscounted = []

    def ask_up_to(self, count):
        while self.asked < count:
            path, body = self.body(self.asked)
            self.asked += 1
            self.compare(ask(self.router.host, "POST", path, body, {"x-sgl-explain": "1"}))
            # Events are published at once, but not before the answer.
            time.sleep(0.1)

    def compare(self, answer):
        assert answer.status == 200, answer
        # The header says only who was chosen; the record comes a moment after the answer.
        path = "/v1/decisions/" + dict(answer.headers)["x-sgl-request-id"]
        record = wait_for("the record", lambda: (got := ask(self.router.admin_host, "GET", path)).status == 200 and got)
        decision = json.loads(record.body)["decisions"][-1]
        chosen = next(one for one in decision["candidates"] if one["index"] in decision["chosen"])
        match = max(chosen.get("prefix_match") or 0, 0)
        usage = json.loads(answer.body)["usage"]
        hit = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
        self.believed, self.cached, self.differ = self.believed + match, self.cached + hit, self.differ + abs(match - hit)
        known = decision.get("request", {})
        if known.get("prompt_tokens_exact") and known["prompt_tokens"] != usage["prompt_tokens"]:
            self.miscounted.append((known["prompt_tokens"], usage["prompt_tokens"]))

    def ended(self, engines, least):
        """At least 95 % of tokens, of so many cached ones at least."""
        stored = self.router.metric("sgl_router_worker_kv_events_total")
        for engine in engines:
            engine.end()
        report = f"{self.believed} tokens believed, {self.cached} cached, {self.differ} differ; {stored:.0f} events"
        assert stored > 0 and self.cached > least, report
        assert self.differ <= 0.05 * max(self.believed, self.cached), report
        return report


class Sight:
    """Part of the checks of engines.py, which has the rest of what they use."""

    def kv_events(self, **more):
        """Settings of a publisher: SGLang takes the one above the first port for questions, and the third for loads."""
        first = free_port(3)
        more = more or {"enable_kv_cache_events": True, "publisher": "zmq"}
        return {"endpoint": f"tcp://*:{first}", "replay_endpoint": f"tcp://*:{first + 1}", **more}

    # --- what caches hold ---

    def agreement(self, kind, flags, body, inputs=("prefix_match",), more=()):
        """Two engines, and a router with a plugin that wants these inputs; `body` makes the path and the body of the
        request of this number."""
        self.end("roomy", "tight", "full", "second", "third", "fourth")
        own = {"publisher": "zmq"} if kind == "sglang" else {}
        engines = [self.engine(kind, *flags, "--kv-events-config", json.dumps(self.kv_events(**own))) for _ in range(2)]
        plugin = os.path.join(self.logs, "turns.wasm")
        with open(plugin, "wb") as file:
            file.write(turns.module(inputs))
        router = Router(self.stack, self.binary, self.logs, [engine.url for engine in engines], "--policy", "turns",
                        "--plugin", f"turns={plugin}", "--record-header", "--record-sample", "1", *more)
        self.routers.append(router)
        return engines, router, Agreement(router, body)

    def over_two_lives(self, kind, *flags):
        """Two engines behind a plugin that wants `prefix_match`: is what the router believes of the chosen one
        what it then takes from its cache? One is killed and started again in between, one drained."""

        def body(number):
            # Eight prefixes of 512 tokens: whole blocks of all sizes.
            first = 100 + 200 * (number % 8)
            ids = [first + at % 199 for at in range(512)] + [100 + (number * 7 + at * 11) % 1800 for at in range(40)]
            return "/v1/completions", {"model": "tiny", "prompt": ids, "max_tokens": 2}

        engines, router, agreement = self.agreement(kind, flags, body)
        agreement.ask_up_to(1)
        wait_for("connections to both engines", lambda: router.metric("sgl_router_worker_kv_sources") == 4)
        agreement.ask_up_to(80)
        engines[0].end()
        wait_for("the end to be seen", lambda: router.healthy() == 1)
        agreement.ask_up_to(100)
        engines[0] = engines[0].restarted()
        wait_for("both engines", lambda: router.healthy() == 2)
        wait_for("connections to both engines", lambda: router.metric("sgl_router_worker_kv_sources") == 4)
        agreement.ask_up_to(150)
        assert ask(router.admin_host, "POST", f"/workers/drain?url={engines[1].url}").status < 300
        agreement.ask_up_to(170)
        assert ask(router.admin_host, "POST", f"/workers/undrain?url={engines[1].url}").status < 300
        agreement.ask_up_to(200)
        return agreement.ended(engines, 20_000)

    def check_prefix_match_is_what_vllm_has_cached(self):
        return self.over_two_lives("vllm", "--enable-prompt-tokens-details")

    def check_prefix_match_is_what_sglang_has_cached(self):
        return self.over_two_lives("sglang", "--enable-cache-report")

    def check_chats_of_vllm_are_found_through_a_tokenizer(self):
        """The same for chats, which the router makes tokens of as the engine does: six system prompts, conversations
        of two turns."""

        def body(number):
            conversation, turn = divmod(number, 2)
            rules = f"You are helper {conversation % 6}. " + " ".join(f"Rule {at} of {conversation % 6}: be brief." for at in range(60))
            messages = [{"role": "system", "content": rules}]
            question = f"Question {conversation}: " + " ".join(f"what of {conversation * 7 + at}?" for at in range(40))
            messages.append({"role": "user", "content": question})
            if turn:
                messages += [{"role": "assistant", "content": "That is so."}, {"role": "user", "content": "And then?"}]
            return CHAT, {"model": "tiny", "messages": messages, "max_tokens": 2}

        settings = os.path.join(self.logs, "tokenizer.toml")
        with open(settings, "w") as file:
            file.write(f"[[tokenizers]]\nmodel = \"tiny\"\npath = {json.dumps(os.path.join(self.directory, 'model'))}\n")
        engines, router, agreement = self.agreement(
            "vllm", ("--enable-prompt-tokens-details",), body, ("prefix_match", "prompt_tokens"), ("--config", settings))
        agreement.ask_up_to(1)
        wait_for("connections to both engines", lambda: router.metric("sgl_router_worker_kv_sources") == 4)
        agreement.ask_up_to(60)
        assert not agreement.miscounted, f"the engine counts these prompts otherwise: {agreement.miscounted[:3]}"
        # On a machine that is busy with engines one may take too long, which costs that prompt its hit.
        made = router.metric('sgl_router_tokenized_prompts_total{outcome="tokenized"}')
        assert made >= 57, f"{made:.0f} of 60 prompts were tokenized"
        return agreement.ended(engines, 10_000) + f"; {made:.0f} of 60 prompts tokenized"

    # --- what policies see ---

    def two(self, kind, *flags, first=()):
        """Two engines that publish their KV events, the first with further flags, and none of the others."""
        self.end("roomy", "tight", "full", "second", "third", "fourth")
        more = {"publisher": "zmq"} if kind == "sglang" else {}
        return [self.engine(kind, *flags, *own, "--kv-events-config", json.dumps(self.kv_events(**more))) for own in (first, ())]

    def signals(self, engines, moving, missing, interval_ms=200, unheard=None, killed=True):
        """Bursts of streams over two engines: which signals came to decisions, and which of them changed. Those of the
        engine `unheard` must not have. The first is killed and started again after the first burst: what it told is
        unknown meanwhile, and what comes and moves is that of its second life."""
        inputs = [*moving, *missing]
        plugin = os.path.join(self.logs, "seeing.wasm")
        with open(plugin, "wb") as file:
            file.write(turns.module(inputs))
        router = Router(self.stack, self.binary, self.logs, [engine.url for engine in engines], "--policy", "turns",
                        "--plugin", f"turns={plugin}", "--record-header", "--record-sample", "1", "--load-interval-ms", str(interval_ms))
        self.routers.append(router)
        seen = {name: {engine.url: set() for engine in engines} for name in inputs}

        def look(answer):
            path = "/v1/decisions/" + dict(answer.headers)["x-sgl-request-id"]
            record = wait_for("the record", lambda: (got := ask(router.admin_host, "GET", path)).status == 200 and got)
            for candidate in json.loads(record.body)["decisions"][-1]["candidates"]:
                known = candidate | candidate.get("books", {})
                for name in ("latency", "ttft", "tpot"):
                    known[f"{name}_ewma"] = known.get(f"{name}_ms")
                for name in inputs:
                    if known.get(name) not in (None, -1):
                        seen[name][candidate["url"]].add(known[name])

        # An engine is busy, and rests, often enough to be seen so.
        def one(number):
            time.sleep(number % 24 / 12)
            ids = [100 + 13 * (number % 4)] * 600 + [100 + (number * 7 + at * 11) % 1800 for at in range(number % 50)]
            body = {"model": "tiny", "prompt": ids, "max_tokens": 300, "stream": True, "ignore_eos": True}
            answer = ask(router.host, "POST", "/v1/completions", body, {"x-sgl-explain": "1"})
            assert answer.is_complete_stream(), answer
            return answer

        for wave in range(3):
            for answer in all_at_once(24, lambda number: one(24 * wave + number)):
                look(answer)
            if wave == 0 and killed:
                self.killed_and_restarted(engines, router, lambda: one(0), [name for name in moving if name in self.TOLD])
                for name in inputs:
                    seen[name][engines[0].url].clear()
            time.sleep(1)
        moved = {(name, url): len(values) > 1 for name in moving for url, values in seen[name].items()}
        wrong = [f"{name} of {url}: {sorted(seen[name][url])[:3]}" for (name, url), did in moved.items()
                 if did != (unheard is None or url != unheard.url)]
        assert not wrong, "these did not move, or were not to: " + ", ".join(wrong)
        told = [name for name in missing if any(seen[name].values())]
        assert not told, f"docs/signals.md says that these are unknown: {told}"
        values = {name: [value for of_engine in seen[name].values() for value in of_engine] for name in moving}
        return ", ".join(f"{name} {min(all_of):g} to {max(all_of):g}" for name, all_of in values.items())

    def killed_and_restarted(self, engines, router, request, told):
        """The first engine, beside requests; these signals of it are unknown in between."""
        engines[0].end()
        wait_for("the end to be seen", lambda: router.healthy() == 1)

        def remembered():
            path = "/v1/decisions/" + dict(request().headers)["x-sgl-request-id"]
            record = wait_for("the record", lambda: (got := ask(router.admin_host, "GET", path)).status == 200 and got)
            candidates = json.loads(record.body)["decisions"][-1]["candidates"]
            dead = next(one for one in candidates if one["url"] == engines[0].url)
            return [name for name in told if dead.get(name) not in (None, -1)]

        wait_for(f"{told} to be unknown", lambda: not remembered())
        engines[0] = engines[0].restarted()
        wait_for("both engines", lambda: router.healthy() == 2)

    # What only the engine can say.
    TOLD = ("running", "waiting", "queued_tokens", "kv_usage", "throughput", "report_age_ms")
    BOOKS = ("load", "prefill_load", "prefill_tokens", "uncached_tokens", "tokens_in_flight", "pending_cost", "oldest_pending_ms",
             "ttft_ewma", "tpot_ewma", "prefix_match", "latency_ewma", "report_age_ms")

    def check_signals_of_vllm_arrive_and_move(self):
        engines = self.two("vllm", "--max-num-seqs", "4", "--enable-prompt-tokens-details")
        said = self.signals(engines, (*self.BOOKS, "running", "waiting", "kv_usage", "throughput"), ("queued_tokens",))
        for engine in engines:
            engine.end()
        return said

    def check_signals_of_sglang_arrive_and_move(self):
        """The first engine pushes its load, the second does not. Both are asked often; then nobody is asked again while
        the test runs, and only what is pushed can move."""
        pushed = ("running", "waiting", "queued_tokens", "kv_usage")
        engines = self.two("sglang", "--max-running-requests", "4", "--enable-cache-report", first=("--load-publish-endpoint", "auto"))
        said = self.signals(engines, (*self.BOOKS, *pushed, "throughput"), ())
        said += "; pushed: " + self.signals(engines, pushed, (), interval_ms=600_000, unheard=engines[1], killed=False)
        for engine in engines:
            engine.end()
        return said

    def finds_as_much(self, engines, chance=0):
        """Conversations of three turns over two engines: tokens from caches with plugins of twenty lines that read the
        index, and with the one that goes by the beginning of the text, at several lengths of it.

        `most_held` wants nothing but hits, and has at least as many as the other at its best. `least_uncached` may have 5 %
        less, by its rule and not by a fault: it gives hits away where the holder of a prompt is busy, and with a single
        system prompt it computes that at both engines, while those who go by it leave the second engine idle.

        `chance`: so many tokens may be missing to `most_held` at an engine whose pages are single tokens. There the first
        tokens of a conversation's own part are hits too wherever another conversation that happens to begin like it was
        before; that depends on who sat beside whom, which no policy aims at. They are at most 4 for each of the 33
        conversations, a thousandth of the 130,000 tokens that are cached in a run."""
        runs = itertools.count()

        def cached(groups, policy, **config):
            router = self.behind(engines, policy, **config)
            # What engines tell of their past when they are first listened to is not to come after what they are sent.
            wait_for("connections to both engines", lambda: router.metric("sgl_router_worker_kv_sources") == 4)
            # Unlike all of other runs, so that every run begins with nothing in the caches.
            run, total = next(runs), [0]

            def conversation(number):
                text = f"run {run} group {number % groups} " * 100 + f"user {number} asks about topic {number * 7} " * 30
                for turn in range(3):
                    answer = ask(router.host, "POST", "/v1/completions", {"model": "tiny", "prompt": text, "max_tokens": 4})
                    assert answer.status == 200, answer
                    details = json.loads(answer.body)["usage"].get("prompt_tokens_details") or {}
                    total[0] += details.get("cached_tokens") or 0
                    text += f" and then turn {turn} of {number} goes on " * 30
                    time.sleep(0.2)

            # The first alone: whether requests that come together find each other's blocks is up to the engine.
            conversation(0)
            for first in range(1, 33, 4):
                all_at_once(4, lambda number: conversation(first + number))
            return total[0]

        said = []
        for groups in (8, 1):
            found = {policy: cached(groups, policy) for policy in ("most_held", "least_uncached")}
            best = {of: cached(groups, "prefix_affinity", prefix_bytes=of) for of in (256, 1024, 8192)}
            said.append(f"{groups} system prompts: {found}, prefix_affinity by its bytes {best}")
            most = max(best.values())
            assert found["most_held"] >= most - chance > 0 and found["least_uncached"] >= 0.95 * most, said
        for engine in engines:
            engine.end()
        return "; ".join(said) + " tokens cached"

    def check_twenty_lines_find_as_much_as_prefix_affinity_at_vllm(self):
        return self.finds_as_much(self.two("vllm", "--enable-prompt-tokens-details"))

    def check_twenty_lines_find_as_much_as_prefix_affinity_at_sglang(self):
        # Pages of one token: the first few of a conversation's own are cached too where its neighbour has the same.
        return self.finds_as_much(self.two("sglang", "--enable-cache-report"), chance=4 * 33)

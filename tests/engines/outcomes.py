"""Checks of what policies hear of requests that real engines served, and of requests that they have wait."""

import json
import os
import time

import turns
from harness import CHAT, all_at_once, ask, chat, connect, send, wait_for

USAGE = {"stream_options": {"include_usage": True}}
# More than is generated before the test hangs up.
ENDLESS = 3500


def usage(answer):
    """Prompt, generated and cached tokens that an answer tells its client, where it tells them."""
    # Of a stream, the event before [DONE].
    told = json.loads(answer.events()[-2] if answer.events() else answer.body).get("usage")
    if not told:
        return None, None, None
    return told["prompt_tokens"], told["completion_tokens"], (told.get("prompt_tokens_details") or {}).get("cached_tokens") or 0


class Outcomes:
    """Part of the checks of engines.py, which has the rest of what they use."""

    def record(self, router, answer):
        """What was decided for a request, and what came of it; it is there a moment after the answer."""
        path = "/v1/decisions/" + dict(answer.headers)["x-sgl-request-id"]
        got = wait_for("the record", lambda: (got := ask(router.admin_host, "GET", path)).status == 200 and got)
        return json.loads(got.body)

    # --- what policies hear ---

    def heard(self, engines):
        """A plugin that tags its answers, and writes down what it hears of them, over requests of every kind."""
        router = self.behind(engines, "note_outcomes")

        def notes(tag):
            """What the plugin wrote of a request, in order, once it has ended."""
            lines = [json.loads(line) for line in router.log().splitlines() if '"sgl_plugin"' in line and line.endswith("}")]
            # The log has what a plugin says in quotation marks.
            found = [json.loads(json.loads(line["fields"]["line"])) for line in lines]
            found = [note for note in found if note["tag"] == tag]
            return found if any(note["heard"] == "end" for note in found) else None

        def end_of(tag, begun):
            told = wait_for(f"the end of {tag}", lambda: notes(tag))
            assert [note["heard"] for note in told] == ["first_token"] * begun + ["end"], told
            assert all(note["worker"] == told[-1]["worker"] for note in told), told
            assert not begun or 0 < told[0]["ms"] <= told[-1]["total_ms"], told
            return told[-1]

        def tokens_of(end):
            return end["prompt_tokens"], end["completion_tokens"], end["cached_tokens"]

        def served(tag):
            ids = [100 + 13 * (tag % 2)] * 600 + [100 + (tag * 7 + at * 11) % 1800 for at in range(tag % 50)]
            path, body = [
                ("/v1/completions", {"model": "tiny", "prompt": ids, "max_tokens": 4 + tag % 5}),
                ("/v1/completions", {"model": "tiny", "prompt": ids, "max_tokens": 30, "stream": True, **USAGE}),
                (CHAT, chat(f"say {tag} " * 60, 10)),
                (CHAT, chat(f"say {tag} " * 60, 40, True, **USAGE)),
                (CHAT, chat(f"say {tag} " * 60, 20, True)),
            ][tag % 5]
            answer = ask(router.host, "POST", path, body, {"x-tag": str(tag)})
            assert answer.status == 200 and (not body.get("stream") or answer.is_complete_stream()), answer
            end = end_of(tag, 1 if body.get("stream") else 0)
            assert (end["ok"], end["status"], end["worker"]) == (True, 200, dict(answer.headers)["x-sgl-worker"]), end
            assert tokens_of(end) == usage(answer), f"{end}, and the client was told {usage(answer)}"
            outcome = self.record(router, answer)["outcome"]
            assert tokens_of({"cached_tokens": None, "prompt_tokens": None, "completion_tokens": None} | outcome) == usage(answer), outcome
            # Plugins may write 20 lines a second.
            time.sleep(0.3)
            return end

        ends = []
        for first in range(1, 60, 2):
            ends += all_at_once(2, lambda number: served(first + number))
        totals = [sum(filter(None, column)) for column in zip(*map(tokens_of, ends))]
        assert min(totals) > 0 and len({end["worker"] for end in ends}) == len(engines), (totals, ends)

        refused = ask(router.host, "POST", CHAT, {"model": "tiny", "messages": "none"}, {"x-tag": "1001"})
        assert 400 <= refused.status < 500, refused
        end = end_of(1001, 0)
        assert (end["ok"], end["status"], *tokens_of(end)) == (True, refused.status, None, None, None), end

        # Clients that hang up.
        for tag, stream in ((1002, True), (1003, False)):
            connection = connect(router.host)
            body = json.dumps(chat(tokens=ENDLESS, stream=stream, ignore_eos=True))
            connection.request("POST", CHAT, body, {"content-type": "application/json", "x-tag": str(tag)})
            if stream:
                assert connection.getresponse().readline()
            wait_for("a request in flight", lambda: router.metric("sgl_router_worker_in_flight") == 1)
            connection.sock.shutdown(2)
            end = end_of(tag, 1 if stream else 0)
            assert (end["ok"], end["status"], *tokens_of(end)) == (False, None, None, None, None), end
        wait_for("nothing in flight", lambda: router.metric("sgl_router_worker_in_flight") == 0)

        # An engine that dies.
        response = send(connect(router.host), "POST", CHAT, chat(tokens=ENDLESS, stream=True, ignore_eos=True), {"x-tag": "1004"})
        assert response.status == 200 and response.readline()
        next(engine for engine in engines if engine.url == response.getheader("x-sgl-worker")).end()
        end = end_of(1004, 1)
        assert (end["ok"], end["status"], *tokens_of(end)) == (False, 502, None, None, None), end
        assert not router.metric("sgl_router_plugin_log_suppressed_total"), "the log has all lines"
        return f"heard of {len(ends) + 4} requests: {totals[0]} prompt, {totals[1]} generated, {totals[2]} cached tokens, all as clients were told"

    # --- what is learnt ---

    def learnt(self, engines):
        """Estimates of prompts, which come as text, and the rate of arrivals, from slow to fast."""
        with open(os.path.join(self.logs, "counting.wasm"), "wb") as file:
            file.write(turns.module(("prompt_tokens", "prompt_tokens_exact", "arrival_rate"), "counting"))
        router = self.behind(engines, "counting")

        def one(number):
            text = f"question {number} of many, about thing {number * 7} and its neighbours; " * (5 + number % 5)
            answer = ask(router.host, "POST", "/v1/completions", {"model": "tiny", "prompt": text, "max_tokens": 1})
            assert answer.status == 200, answer
            facts = self.record(router, answer)["decisions"][-1]["request"]
            assert facts["prompt_tokens_exact"] is False, facts
            return len(text), facts["prompt_tokens"], usage(answer)[0], facts.get("arrival_rate")

        slow = []
        for number in range(10):
            slow.append(one(number))
            time.sleep(0.5)
        fast = [seen for first in range(10, 170, 2) for seen in all_at_once(2, lambda number: one(first + number))]
        of_bytes, estimated, counted, _ = slow[0]
        # Four bytes a token until more is known.
        assert abs(estimated - of_bytes / 4) <= 1, slow[0]
        assert abs(estimated - counted) > 0.2 * counted, f"{slow[0]}: this text has four bytes a token"
        off = [abs(estimated - counted) / counted for _, estimated, counted, _ in fast[-40:]]
        assert max(off) < 0.1, f"estimates are {max(off):.0%} off: {fast[-5:]}"
        rates = [rate for *_, rate in slow + fast if rate is not None]
        assert rates[-1] > 1.5 * rates[8] > 0, rates
        return (f"of {of_bytes / counted:.2f} bytes a token, estimates are {max(off):.1%} off at most, the first {abs(estimated - counted) / counted:.0%}; "
                f"{rates[8]:.1f} to {rates[-1]:.1f} requests a second")

    # --- who waits ---

    def held(self, engines):
        """Requests that a plugin has wait while each engine serves one, by their keys, and one that it refuses."""
        router = self.behind(engines, "hold_back", most=1)
        count = 20

        def queue():
            return json.loads(ask(router.admin_host, "GET", "/v1/queue").body)

        fillers = [connect(router.host) for _ in engines]
        for filler in fillers:
            assert send(filler, "POST", CHAT, chat(tokens=ENDLESS, stream=True, ignore_eos=True)).status == 200
        seen = {}

        def one(number):
            # The last is to be the first.
            headers = {"x-key": str(-number)}
            return ask(router.host, "POST", CHAT, chat(f"held {number}", 30, True, ignore_eos=True), headers, 120)

        def watch():
            wait_for("all to wait", lambda: queue()["waiting"] == count + 1)
            seen.update(queue())
            leaver.sock.shutdown(2)
            wait_for("the one who hung up to leave", lambda: queue()["waiting"] == count)
            seen["shed"] = ask(router.host, "POST", CHAT, chat(), {"x-shed": "1500"})
            for filler in fillers:
                filler.sock.shutdown(2)

        leaver = connect(router.host)
        leaver.request("POST", CHAT, json.dumps(chat()), {"content-type": "application/json", "x-key": "-1000"})
        answers = all_at_once(count + 1, lambda number: one(number) if number < count else watch())[:count]
        bad = [answer for answer in answers if not answer.is_complete_stream() or b'"error"' in answer.body]
        assert not bad, f"{len(bad)} of {count}, such as {bad[0]}"
        kinds = {(waiting["waits_for"], waiting["plugin"]) for waiting in seen["requests"]}
        keys = sorted(waiting["key"] for waiting in seen["requests"])
        assert kinds == {("plugin", "hold_back")} and keys == [-1000, *range(1 - count, 1)], seen
        shed = seen["shed"]
        assert (shed.status, dict(shed.headers).get("retry-after")) == (429, "2") and b"request_shed" in shed.body, shed
        records = [self.record(router, answer) for answer in answers]
        keys = [next(one["wait"]["key"] for one in record["decisions"] if "wait" in one) for record in records]
        assert keys == [-number for number in range(count)], keys
        went_on = [record["time_unix_ms"] + record["outcome"]["waited_ms"] for record in reversed(records)]
        # They are asked in the order of their keys. One engine that becomes free in the middle of that takes who is asked
        # just then: after eight who still wait (`reasks`) nobody is asked.
        order = sorted(range(count), key=went_on.__getitem__)
        assert all(abs(place - number) <= 8 for place, number in enumerate(order)), order
        full = router.metric('sgl_router_retries_total{reason="full"}')
        assert not full, f"the engines refused {full} requests"
        ends = {end: router.metric(f'sgl_router_queue_waits_total{{for="plugin",end="{end}"}}') for end in ("went_on", "client_gone")}
        assert ends == {"went_on": count, "client_gone": 1} and queue()["waiting"] == 0, ends
        waited = [record["outcome"]["waited_ms"] for record in records]
        return f"{count} waited {min(waited):.0f} to {max(waited):.0f} ms, in the order of their keys"

    def told(self, *engines):
        try:
            return "; ".join(part(engines) for part in (self.learnt, self.held, self.heard))
        finally:
            for engine in engines:
                engine.end()

    def check_outcomes_and_waits_with_vllm(self):
        self.end("roomy", "tight", "full", "second", "third", "fourth")
        flags = ("--max-num-seqs", "1", "--max-num-queued-reqs", "2", "--enable-prompt-tokens-details")
        return self.told(*(self.engine("vllm", *flags) for _ in range(2)))

    def check_outcomes_and_waits_with_sglang(self):
        self.end("roomy", "tight", "full", "second", "third", "fourth")
        # Its check of its own health is a request too, which takes a place in its queue.
        flags = ("--max-running-requests", "1", "--max-queued-requests", "2", "--enable-cache-report")
        return self.told(*(self.engine("sglang", *flags) for _ in range(2)))

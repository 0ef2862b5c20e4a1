"""Checks of pairs of real vLLM: one computes the prompt, the other fetches what it has computed and answers."""

import json

from engine import Engine
from harness import CHAT, Router, ask, chat, free_port, wait_for

# In main memory: there is no other here.
TRANSFER = json.dumps({"kv_connector": "NixlConnector", "kv_role": "kv_both", "kv_buffer_device": "cpu"})
REQUESTS = 24


class Pairs:
    """Part of the checks of engines.py, which has the rest of what they use."""

    def half(self):
        """An engine that can be either half. The port is where its blocks are asked for."""
        variables = {"VLLM_NIXL_SIDE_CHANNEL_PORT": str(free_port())}
        return Engine(self.stack, self.directory, "vllm", "--kv-transfer-config", TRANSFER, variables=variables)

    def check_pair_of_vllm_hands_over_what_it_computed(self):
        self.end("roomy", "tight", "full", "second", "third", "fourth")
        halves = [self.half(), self.half()]
        try:
            return self.handed_over(halves)
        finally:
            # Idle ones keep a core busy.
            for half in halves:
                half.end()

    def handed_over(self, halves):
        prefill, decode = halves
        router = Router(self.stack, self.binary, self.logs, [], "--policy", "pd_pair", "--prefill", prefill.url, "--decode", decode.url,
                        expected=2)
        self.routers.append(router)
        fetched = lambda: decode.metric("vllm:external_prefix_cache_hits_total")
        before, prompts = fetched(), 0
        for number in range(REQUESTS):
            # No two begin alike, so that nobody has any of it already. Greedy: both ways lead to the same text.
            ids = [100 + (number * 37 + at * 11) % 1800 for at in range(300)]
            body = {"model": "tiny", "prompt": ids, "max_tokens": 8, "temperature": 0}
            alone = json.loads(ask(prefill.url, "POST", "/v1/completions", body).body) if number % 4 == 0 else None
            answer = ask(router.host, "POST", "/v1/completions", {**body, "stream": number % 2 == 1})
            assert answer.status == 200 and not answer.broken, answer
            assert dict(answer.headers)["x-sgl-worker"] == decode.url, answer.headers
            # vLLM says of everything that there is none; what the halves told each other is theirs.
            assert b"remote_engine_id" not in answer.body, answer.body
            if alone:
                assert json.loads(answer.body)["choices"][0]["text"] == alone["choices"][0]["text"], (answer, alone)
            prompts += len(ids)
        wait_for("the engine's counts", lambda: fetched() > before)
        share = (fetched() - before) / prompts
        assert share >= 0.9, f"the decode half fetched {share:.0%} of the prompts' tokens"

        # Its other half goes: the client is told, or served otherwise, and a new one is used without anybody's help.
        port, variables = prefill.port, {"VLLM_NIXL_SIDE_CHANNEL_PORT": str(free_port())}
        prefill.end()
        answer = ask(router.host, "POST", CHAT, chat(tokens=2))
        assert answer.status in (502, 503), answer
        wait_for("the end to be seen", lambda: router.healthy() == 1)
        halves[0] = Engine(self.stack, self.directory, "vllm", "--kv-transfer-config", TRANSFER, port=port, variables=variables)
        wait_for("both halves", lambda: router.healthy() == 2)
        before = fetched()
        answer = ask(router.host, "POST", "/v1/completions", {"model": "tiny", "prompt": [7 + at % 900 for at in range(300)], "max_tokens": 4})
        assert answer.status == 200, answer
        wait_for("blocks of the new half", lambda: fetched() > before)
        return f"{share:.0%} of the tokens of {REQUESTS} prompts were fetched, the texts are those of one engine; again after a restart"

"""Whether a simulation says beforehand what a real engine then does."""

import json
import os
import random
import subprocess
import tempfile

from harness import CHAT, ask, chat

# Requests a second as shares of what one engine can do at most.
LOADS = (0.3, 0.5, 0.7)
SECONDS = 40
# `sgl-router load` takes a token to be four bytes; what that is to the engine is asked.
PROMPT, OUTPUT = (60, 500), (8, 48)
# Large enough that the model takes its time, not the HTTP server before it; weights are random.
MODEL = {"hidden_size": 256, "intermediate_size": 768, "num_hidden_layers": 4, "num_attention_heads": 4,
         "num_key_value_heads": 4, "head_dim": 64}
ALLOWED = 0.2


class Prediction:
    """Part of the checks of engines.py, which has the rest of what they use."""

    def command(self, *words):
        done = subprocess.run([self.binary, *words], capture_output=True, text=True)
        assert done.returncode == 0, f"{words[0]}: {done.returncode}\n{done.stderr[-3000:]}"
        return done.stdout

    def tokens(self, engine, size):
        """What the engine counts where `load` counts `size`: the text has four bytes a token."""
        text = ("river stone light house paper green music water seven north table quiet bread cloud horse train " * 200)[:4 * size]
        return json.loads(ask(engine.url, "POST", CHAT, chat(text, 1)).body)["usage"]["prompt_tokens"]

    def traces(self, directory, rate, count, of_load, seed):
        """The same requests, which have nothing in common with any others, as `load` and as the engine counts them."""
        draw, at = random.Random(seed), 0.0
        names = [os.path.join(directory, f"{kind}-{seed}.jsonl") for kind in ("load", "simulate")]
        with open(names[0], "w") as loaded, open(names[1], "w") as simulated:
            for number in range(count):
                at += draw.expovariate(rate)
                prompt, output = draw.randint(*PROMPT), draw.randint(*OUTPUT)
                # One block each: `load` makes text of its number, and without one of the number of the request, which
                # would be the same in each trace and in the engine's cache from the second on.
                block = {"hash_ids": [seed * 1_000_000 + number]}
                for file, size, more in ((loaded, prompt, block), (simulated, of_load(prompt), {})):
                    file.write(json.dumps({"timestamp": 1000 * at, "input_length": size, "output_length": output, **more}) + "\n")
        return names

    def expected(self, trace, model):
        """What a simulation of one engine says. Stamps are exact: nothing is to be spread."""
        report = self.command("simulate", "--trace", trace, "--model", model, "--workers", "1", "--spread", "0",
                              "--policy", "least_load", "--json")
        return json.loads(report)["runs"][0]

    def measured(self, trace, engine):
        cached = engine.metric("vllm:prefix_cache_hits_total")
        report = self.command("load", "--url", engine.url, "--model", "tiny", "--stream", "--trace", trace,
                              "--body-fields", json.dumps({"ignore_eos": True}), "--json")
        target = json.loads(report)["targets"][0]
        assert not target["failed"], target["errors"]
        cached = engine.metric("vllm:prefix_cache_hits_total") - cached
        assert not cached, f"{cached:.0f} tokens were in the engine's cache; those of the simulation are not"
        return target["median"]

    def check_calibrated_model_predicts_ttft(self):
        self.end("roomy", "tight", "full", "second", "third", "fourth")
        # In one process: else its processes take the time that they wait for each other from HTTP and the client.
        engine = self.engine("vllm", "--distributed-executor-backend", "uni", "--load-format", "dummy", "--hf-overrides", json.dumps(MODEL))
        try:
            return self.predicted(engine)
        finally:
            engine.end()

    def predicted(self, engine):
        directory = self.stack.enter_context(tempfile.TemporaryDirectory())
        model = os.path.join(directory, "model.toml")
        print(self.command("calibrate", "--url", engine.url, "--out", model), end="")
        few, many = (self.tokens(engine, size) for size in PROMPT)
        of_load = lambda size: round(few + (size - PROMPT[0]) * (many - few) / (PROMPT[1] - PROMPT[0]))
        # What it can do at most: everything comes at once.
        at_once = self.expected(self.traces(directory, 1e6, 1000, of_load, 0)[1], model)
        busy = at_once["duration"] * at_once["workers"][0]["busy"]
        print(f"at most {1000 / busy:.1f} requests/s, says the model; times in ms, measured/simulated")
        print("load  requests/s   TTFT p50            TTFT p90            whole answer p50    p90")
        off = []
        for number, share in enumerate(LOADS, 1):
            rate = share * 1000 / busy
            loaded, simulated = self.traces(directory, rate, max(60, round(rate * SECONDS)), of_load, number)
            found, said = self.measured(loaded, engine), self.expected(simulated, model)
            row = f"{share:4.1f}  {rate:10.1f}  "
            for theirs, ours in (("first_token_ms", "ttft"), ("latency_ms", "e2e")):
                for quantile in ("p50", "p90"):
                    real, model_ms = found[theirs][quantile], 1e3 * said[ours][quantile]
                    if ours == "ttft":
                        off.append(abs(model_ms / real - 1))
                    row += f" {real:6.1f} {model_ms:6.1f} {model_ms / real - 1:+5.0%}"
            print(row, flush=True)
        assert max(off) <= ALLOWED, f"off by up to {max(off):.0%}"
        return f"TTFT p50 and p90 at {len(LOADS)} loads: off by {max(off):.0%} at most"

"""Workers, simulated and real, which tell how many tokens of prompts they had in their caches."""

import json
import os

from drift import Simulated
from engine import Engine
from harness import ask, free_port

# What engines call the tokens of prompts, and those of them that were cached.
COUNTERS = {
    "vllm": ("vllm:prefix_cache_queries_total", "vllm:prefix_cache_hits_total"),
    "sglang": ("sglang:prompt_tokens_total", "sglang:cached_tokens_total"),
}


class Fleet:
    """Workers of one kind."""

    def __init__(self, kind, workers):
        self.urls, self.counters = [one.url for one in workers], COUNTERS[kind]

    def counts(self):
        """Prompt tokens and cached ones of each worker, since it was started."""
        return [[metric(url, name) for name in self.counters] for url in self.urls]


def metric(url, name):
    """The sum of the samples of this name."""
    lines = ask(url, "GET", "/metrics").body.decode().splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith((name + "{", name + " ")))


def simulated(stack, given, directory):
    """Workers whose times are a model's, all of them this many times faster."""
    flags = ["--time-scale", str(given.time_scale), "--prefill-tokens-per-second", str(given.prompt_rate / given.shrink),
             "--prefill-base-ms", "12", "--decode-ms", str(given.decode_ms * given.output_shrink), "--max-running", "256",
             "--cache-tokens", str(given.cache_tokens), "--block-size", "16"]
    if given.kv_events:
        flags += ["--kv-events", "auto"]
    workers = [Simulated(stack, given.binary, directory, given.dialect, *flags, "--seed", str(number))
               for number in range(given.workers)]
    return Fleet(given.dialect, workers)


def real(stack, given, _directory):
    """vLLM on the CPU, with a model whose prompts take longer than the HTTP server before it, and a small cache."""
    model = {"hidden_size": given.width, "intermediate_size": 3 * given.width, "num_hidden_layers": given.layers,
             "num_attention_heads": given.width // 64, "num_key_value_heads": given.width // 64, "head_dim": 64}
    # In one process each: else two of every engine wait for each other in loops, and keep a core each busy.
    flags = ["--distributed-executor-backend", "uni", "--load-format", "dummy", "--hf-overrides", json.dumps(model), "--block-size", "32",
             "--num-gpu-blocks-override", str(given.cache_tokens // 32), "--max-num-seqs", "32"]
    workers = []
    for _ in range(given.workers):
        events = []
        if given.kv_events:
            first = free_port(2)
            settings = {"enable_kv_cache_events": True, "publisher": "zmq", "endpoint": f"tcp://*:{first}",
                        "replay_endpoint": f"tcp://*:{first + 1}"}
            events = ["--kv-events-config", json.dumps(settings)]
        workers.append(Engine(stack, given.engines, "vllm", *flags, *events))
    return Fleet("vllm", workers)


def start(stack, given, directory):
    """The fleet that was asked for."""
    return real(stack, given, directory) if given.engines else simulated(stack, given, os.fspath(directory))

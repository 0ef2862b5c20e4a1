"""Whether policies do in real time what a simulation says of them: a router per policy in turn over the same
workers, and `sgl-router load --trace`. `scripts/policy_order.sh` runs it.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "tests", "engines"))

import fleets
import report
import traces
from harness import Router, end, main, wait_for

# Below this every vocabulary has ids; that of the tests' model has 2000 to 2048.
TOKEN_IDS = 2000


def arguments():
    parser = argparse.ArgumentParser(prog="scripts/policy_order.sh", formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--binary", type=pathlib.Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--trace", type=pathlib.Path, required=True, help="Mooncake's conversation trace, JSON lines")
    parser.add_argument("--order", default="round_robin<cache_aware<=toll",
                        help="policies, the worst first: < is to be better in cached tokens and in TTFT p90, <= may be alike")
    parser.add_argument("--seeds", default="1,2,3", help="a round of each policy for each seed, which spreads the stamps")
    parser.add_argument("--seconds", type=float, default=20, help="of a run of one policy")
    parser.add_argument("--load", type=float, help="what the times of the trace are divided by, besides --time-scale")
    parser.add_argument("--longest", type=int, default=32_768, help="requests with longer prompts are left out")
    parser.add_argument("--conversations", type=float, help="share of the trace's conversations that is played: of fewer, a longer time fits into a run")
    parser.add_argument("--begin", type=float, default=0, help="second of the trace with which runs begin")
    parser.add_argument("--workers", type=int, help="workers (8 simulated or 4 real ones)")
    parser.add_argument("--shrink", type=int, help="prompts, blocks and caches are so many times smaller, prompts as much slower")
    parser.add_argument("--output-shrink", type=float, help="answers are so many times shorter, and tokens slower")
    parser.add_argument("--cache-tokens", type=int, help="tokens that a worker's cache holds, before --shrink")
    parser.add_argument("--kv-events", action="store_true", help="workers publish what their caches hold")
    parser.add_argument("--text", action="store_true", help="prompts are text, which routers estimate; else token ids")
    parser.add_argument("--config", action="append", default=[], metavar="POLICY:KEY=VALUE", help="a setting of a policy")
    parser.add_argument("--json", type=pathlib.Path, help="writes all figures into a file")
    parser.add_argument("--merge", type=pathlib.Path, nargs="*", default=[], help="files of earlier runs that count as well")
    simulated = parser.add_argument_group("simulated workers")
    simulated.add_argument("--dialect", choices=fleets.COUNTERS, default="vllm", help="the engine that they speak like")
    simulated.add_argument("--time-scale", type=float, default=0.05, help="time that what takes a second takes")
    simulated.add_argument("--prompt-rate", type=float, default=10_000, help="prompt tokens that a worker reads in a second")
    simulated.add_argument("--decode-ms", type=float, default=12, help="of a token")
    engines = parser.add_argument_group("real engines")
    engines.add_argument("--engines", type=pathlib.Path, metavar="DIR", help="vLLM on the CPU, which is or will be installed there")
    engines.add_argument("--width", type=int, default=256, help="hidden size of the model, whose weights are random")
    engines.add_argument("--layers", type=int, default=4, help="its layers")
    given = parser.parse_args()
    if not given.trace.is_file():
        parser.error(f"--trace: {given.trace} is no file; Mooncake's repository (kvcache-ai/Mooncake) has conversation_trace.jsonl")
    # What the machines of these tests can do: see docs/policies/measured.md.
    real, sim = (4, 16, 32, 1_024_000, 40.0, 0.1), (8, 4, 8, 1_024_000, 3.2, 1.0)
    names = ("workers", "shrink", "output_shrink", "cache_tokens", "load", "conversations")
    for name, value in zip(names, real if given.engines else sim):
        if getattr(given, name) is None:
            setattr(given, name, value)
    given.time_scale = 1.0 if given.engines else given.time_scale
    given.cache_tokens //= given.shrink
    given.seeds = [int(seed) for seed in given.seeds.split(",")]
    given.steps = report.steps(given.order)
    return given


class Runs:
    """Runs over one fleet."""

    def __init__(self, stack, given):
        self.stack, self.given = stack, given
        self.directory = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
        with given.trace.open() as file:
            self.requests = traces.read(file, given.longest)
        speed = given.load / given.time_scale
        self.requests = traces.conversations(self.requests, given.conversations)
        self.requests = traces.part(self.requests, given.seconds * speed, given.begin)
        self.speed, self.count = speed, 0
        self.fleet = fleets.start(stack, given, self.directory)

    def router(self, policy):
        given = self.given
        flags = ["--policy", policy, "--log-level", "info", "--health-check-interval-secs", "1"]
        flags += ["--load-interval-ms", str(max(100, round(1000 * given.time_scale)))]
        for setting in given.config:
            of, _, setting = setting.partition(":")
            flags += ["--policy-config", setting] if of == policy else []
        router = Router(self.stack, given.binary, self.directory, self.fleet.urls, *flags)
        if given.kv_events and policy != "round_robin":
            told = lambda: router.metric("sgl_router_worker_kv_sources{") >= 2 * len(self.fleet.urls)
            wait_for("connections to all workers' events", told)
        return router

    def one(self, policy, seed):
        """Plays the trace to a router with this policy."""
        given, trace = self.given, self.directory / "trace.jsonl"
        self.count += 1
        # Processes of other minutes have left other ids in the caches of real engines.
        run = self.count + 1000 * (os.getpid() % 1000)
        traces.write(trace, self.requests, run, seed, given.shrink, given.output_shrink)
        router = self.router(policy)
        before = self.fleet.counts()
        target = self.load(router.url, trace)
        after = self.fleet.counts()
        end(router.process)
        spent = [[late - early for late, early in zip(*both)] for both in zip(after, before)]
        prompts, cached = (sum(of_worker[at] for of_worker in spent) for at in (0, 1))
        uncached = [of_worker[0] - of_worker[1] for of_worker in spent]
        figures = {"policy": policy, "seed": seed, "requests": target["requests"], "failed": target["failed"],
                   "errors": target["errors"], "prompt_tokens": prompts, "cached": cached / prompts,
                   "imbalance": max(uncached) * len(uncached) / sum(uncached),
                   "lag_ms": target["median"]["lag_ms"]["p99"]}
        figures["ttft_ms"] = {name: target["median"]["first_token_ms"][name] for name in ("p50", "p90", "p99")}
        print(f"  seed {seed} {report.line(figures)}", file=sys.stderr, flush=True)
        return figures

    def load(self, url, trace):
        given, file = self.given, self.directory / "load.json"
        command = [given.binary, "load", "--url", url, "--model", "tiny", "--stream", "--trace", trace, "--trace-speed",
                   str(self.speed), "--trace-block-tokens", str(traces.BLOCK_TOKENS // given.shrink), "--json", file,
                   "--body-fields", json.dumps({"ignore_eos": True}), "--drain", "60s"]
        command += [] if given.text else ["--token-ids", str(TOKEN_IDS)]
        done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
        assert done.returncode == 0, f"load: {done.returncode}\n{done.stderr[-3000:]}"
        return json.loads(file.read_text())["targets"][0]

    def all(self):
        """Policies take turns, and another one is first in each round."""
        policies, figures = [policy for policy, _ in self.given.steps], []
        for number, seed in enumerate(self.given.seeds):
            turn = number % len(policies)
            figures += [self.one(policy, seed) for policy in policies[turn:] + policies[:turn]]
        return figures


def body(stack):
    given = arguments()
    figures = [one for file in given.merge for one in json.loads(file.read_text())["runs"]]
    if given.seconds > 0:
        figures += Runs(stack, given).all()
    if given.json:
        shown = {name: str(value) if isinstance(value, pathlib.Path) else value for name, value in vars(given).items()
                 if name not in ("binary", "json", "merge", "steps")}
        given.json.write_text(json.dumps({"settings": shown, "runs": figures}, indent=1))
    text, holds = report.page(figures, given.steps)
    print(text)
    return 0 if holds else 1


main(body)

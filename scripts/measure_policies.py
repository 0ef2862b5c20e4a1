"""Plays traces with all policies in `sgl-router simulate`, and writes what came of it as tables of Markdown."""

import argparse
import collections
import json
import pathlib
import shlex
import statistics
import subprocess
import sys

# As in the first column of the tables, with what names it to the command if that is something else.
SHIPPED = [
    "toll", "late", "late4", "least_uncached", "least_work", "lmetric", "cache_aware", "kv_aware",
    "weighted_scorers", "slo_aware", "prefix_affinity", "sticky_least_loaded", "token_pools", "priority", "pd_pair",
    "weighted_random", "least_connections",
]
BUILT_IN = ["round_robin", "random", "power_of_two", "least_load", "consistent_hash"]
RIVALS = [
    "smg:cache_aware", "smg:cache_aware_events", "vllm-router:smetric", "llm-d:weighted", "llm-d:affinity",
    "dynamo:kv_router", "aibrix:prefix_cache", "paper:lmetric",
]
SEEDS = 5

CHATS = (
    "--rate 1 --arrivals gamma --arrival-cv 3 --turns 6:0.8 --think-secs 20:1 --prompt-tokens 1500:1.5:32000"
    " --turn-tokens 400:1.2 --output-tokens 250:1 --system-tokens 1024 --system-prompts 4 --requests 12000"
)
AGENTS = (
    "--rate 0.5 --arrivals on-off --turns 10:0.7 --think-secs 5:1.5 --prompt-tokens 6000:1:64000"
    " --turn-tokens 1500:1.2 --output-tokens 150:1 --system-tokens 2048 --system-prompts 16 --requests 6000"
)
# Title, flags, loads.
SETTINGS = [
    ("Mooncake, 8 workers", "--trace {mooncake}", "1,1.2,1.4,1.6"),
    ("Mooncake, prompts up to 32,768 tokens, 8 workers", "--trace {mooncake} --max-prompt-tokens 32768", "2.4,2.8"),
    ("Mooncake, 32 workers", "--trace {mooncake} --workers 32", "5.6,6.4"),
    ("Azure's code completion, 8 workers", "--trace {azure}", "1,2,3"),
    ("Chats that are made up, 8 workers", CHATS, "10,16"),
    ("Agents that are made up, 8 workers", AGENTS, "1,3,4"),
]
HEAD = """# Policies, measured: the tables

Written by `scripts/measure_policies.sh`, router of commit {commit}; do not change by hand. What the columns mean,
which traces these are and what to think of it: [Policies, measured](measured.md).

Each table is of `sgl-router simulate {policies} --seeds {seeds}` and the flags above it.
"""


def policy_flags():
    """All policies, as the command takes them."""
    flags = []
    for name in SHIPPED + BUILT_IN + RIVALS:
        flags += ["--policy", "late4=embedded:late" if name == "late4" else name]
    return [*flags, "--policy-config", "late4:alpha=4"]


def share(value):
    """A share with three digits."""
    return f"{value:.3f}".removeprefix("0") if round(value, 3) < 1 else "1.00"


def seconds(value):
    """Seconds with three digits that count, at least whole ones."""
    return f"{value:.2f}" if value < 9.995 else f"{value:.1f}" if value < 99.95 else f"{value:.0f}"


def row(name, runs):
    """What the seeds say of a policy."""
    mean = lambda of: statistics.mean(of(run) for run in runs)
    p99 = mean(lambda run: run["ttft"]["p99"])
    away = max(abs(run["ttft"]["p99"] - p99) for run in runs)
    shown = "`late`, `alpha = 4`" if name == "late4" else f"`{name}`"
    times = [seconds(mean(lambda run, p=p: run["ttft"][p])) for p in ("p50", "p90")]
    cells = [
        shown, *times, f"{seconds(p99)} ± {away:.1f}" if away >= 0.05 else f"{seconds(p99)} ± {away:.2f}",
        share(mean(lambda run: run["hit_rate"])), share(mean(lambda run: run["ttft_ok"])),
        share(mean(lambda run: run["goodput"])),
    ]
    return "| " + " | ".join(cells) + " |"


def table(title, load, runs):
    """The table of one load."""
    of = collections.defaultdict(list)
    for run in runs:
        of[run["policy"]].append(run)
    for name, found in of.items():
        if len(found) != SEEDS:
            sys.exit(f"{title}, load {load}: {len(found)} runs of {name}, expected {SEEDS}")
    lines = ["| policy | TTFT p50 s | p90 | p99 | hits | TTFT in time | all in time |", "|---|---|---|---|---|---|---|"]
    return "\n".join(lines + [row(name, found) for name, found in of.items()])


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--router", required=True, help="the program")
    parser.add_argument("--mooncake", required=True, help="Mooncake's conversation_trace.jsonl")
    parser.add_argument("--azure", required=True, help="Azure's AzureLLMInferenceTrace_code.csv")
    parser.add_argument("--out", required=True, type=pathlib.Path, help="where to write the tables")
    parser.add_argument("--json", type=pathlib.Path, help="where to write all runs as JSON")
    args = parser.parse_args()
    version = subprocess.run([args.router, "--version"], check=True, capture_output=True, text=True).stdout
    commit = next(line.split()[1] for line in version.splitlines() if line.startswith("commit:"))
    names = " ".join(f"--policy {name}" for name in ("toll", "late", "…"))
    parts = [HEAD.format(commit=commit, policies=names, seeds=SEEDS)]
    kept = {}
    for title, flags, loads in SETTINGS:
        print(f"==> {title}, load {loads}", file=sys.stderr, flush=True)
        paths = {"mooncake": args.mooncake, "azure": args.azure}
        given = [flag.format(**paths) for flag in shlex.split(flags)]
        command = [args.router, "simulate", *policy_flags(), "--seeds", str(SEEDS), *given, "--load", loads, "--json"]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
        runs = json.loads(done.stdout)["runs"]
        shown = {"mooncake": "conversation_trace.jsonl", "azure": "AzureLLMInferenceTrace_code.csv"}
        for load in loads.split(","):
            here = [run for run in runs if run["load"] == float(load)]
            flags_here = f"`{flags.format(**shown)} --load {load}`"
            parts.append(f"## {title}, load {load}\n\n{flags_here}\n\n{table(title, load, here)}\n")
            kept[f"{title}, load {load}"] = [
                {key: run[key] for key in ("policy", "seed", "ttft", "hit_rate", "ttft_ok", "goodput")} for run in here
            ]
    # Nothing is replaced before all is there.
    beside = args.out.with_suffix(".new")
    beside.write_text("\n".join(parts))
    beside.replace(args.out)
    if args.json:
        args.json.write_text(json.dumps(kept))


if __name__ == "__main__":
    main()

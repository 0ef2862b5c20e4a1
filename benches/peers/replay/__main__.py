"""Compares `sgl-router simulate` with Dynamo's replay of a trace. `replay.sh` runs it.

Ends with 3 where `round_robin` here and there do not agree; its own faults are 1.

usage: replay --binary FILE --plugins DIR --python FILE --work DIR --trace FILE --json FILE ...
"""

import argparse
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import time

import timing

THEIRS = ["dynamo round_robin", "dynamo kv_router"]
MODELS = {"dynamo round_robin": "round_robin", "dynamo kv_router": "dynamo:kv_router"}
# Of the times to first token and the share of reused tokens of `round_robin`, which decides the same here and there.
# `kv_router` has a model of its own here, whose differences are told and decide nothing.
TOLERANCE = 0.10
AGREEING = ("ttft_p50", "ttft_p99", "hits")
DISAGREEMENT = 3
NATIVES = ["round_robin", "least_load", "dynamo:kv_router"]


class Failure(Exception):
    """What ends the comparison, in words for its user."""


def arguments():
    parser = argparse.ArgumentParser(prog="benches/peers/replay.sh")
    for name in ("--binary", "--plugins", "--python", "--work"):
        parser.add_argument(name, type=pathlib.Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--trace", type=pathlib.Path, required=True, help="Mooncake's conversation trace")
    parser.add_argument("--json", type=pathlib.Path, help="writes all figures into a file")
    parser.add_argument("--rounds", type=int, default=3, help="rounds, in turns (default: 3)")
    parser.add_argument("--workers", type=int, default=8, help="simulated workers (default: 8)")
    parser.add_argument("--plugin", action="append", help="a shipped plugin (default: least_uncached and toll)")
    given = parser.parse_args()
    given.plugin = given.plugin or ["least_uncached", "toll"]
    return given


def measured(command):
    """Runs a command on one core; its output, seconds of all of it, and its peak memory in MB."""
    began = time.perf_counter()
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "DYN_LOG": "error"},
        preexec_fn=lambda: os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}),
    )
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        raise Failure(f"{command[0]} ended with {os.waitstatus_to_exitcode(status)}")
    return json.loads(output), time.perf_counter() - began, usage.ru_maxrss / 1024


def theirs(given, mode):
    script = pathlib.Path(__file__).parent / "theirs.py"
    args = given.work / "engine_args.json"
    command = [given.python, script, given.trace, args, str(given.workers), mode.split()[1]]
    summary, seconds, memory = measured(command)
    return {
        "requests": summary["completed_requests"],
        "inner_seconds": summary["wall_time_ms"] / 1e3,
        "outer_seconds": seconds,
        "memory_mb": memory,
        "ttft_p50": summary["median_ttft_ms"] / 1e3,
        "ttft_p99": summary["p99_ttft_ms"] / 1e3,
        "hits": summary["prefix_cache_reused_ratio"],
    }


def ours(given, policy):
    # Their replay takes the stamps as they are.
    command = [given.binary, "simulate", "--trace", given.trace, "--policy", policy, "--threads", "1"]
    command += ["--workers", str(given.workers), "--model", given.work / "model.toml", "--spread", "0", "--json"]
    report, seconds, memory = measured(command)
    (run,) = report["runs"]
    return {
        "requests": run["answered"],
        "inner_seconds": run["wall"],
        "outer_seconds": seconds,
        "memory_mb": memory,
        "ttft_p50": run["ttft"]["p50"],
        "ttft_p99": run["ttft"]["p99"],
        "hits": run["hit_rate"],
    }


def median(rows):
    return {key: statistics.median(row[key] for row in rows) for key in rows[0]}


def run(given):
    timing.write_profile(given.work / "profile.npz")
    (given.work / "model.toml").write_text(timing.as_toml())
    args = timing.as_engine_args(given.work / "profile.npz")
    (given.work / "engine_args.json").write_text(json.dumps(args))
    tasks = {name: lambda name=name: theirs(given, name) for name in THEIRS}
    tasks |= {f"here {name}": lambda name=name: ours(given, name) for name in NATIVES}
    for name in given.plugin:
        path = given.plugins / f"{name}.wasm"
        tasks[f"here {name}.wasm"] = lambda path=path: ours(given, path)
    rows = {name: [] for name in tasks}
    for number in range(given.rounds):
        print(f"round {number + 1} of {given.rounds}", file=sys.stderr)
        for name, task in tasks.items():
            rows[name].append(task())
    return {name: median(found) for name, found in rows.items()}


def table(found):
    base = found["dynamo kv_router"]
    yield "| | TTFT p50, s | p99, s | hits | requests/s, run | requests/s, all | peak MB | × kv_router, run | all | memory |"
    yield "|---|---|---|---|---|---|---|---|---|---|"
    for name, row in found.items():
        inner, outer = row["requests"] / row["inner_seconds"], row["requests"] / row["outer_seconds"]
        faster = [inner / (base["requests"] / base["inner_seconds"]), outer / (base["requests"] / base["outer_seconds"])]
        cells = [f"{row['ttft_p50']:.3f}", f"{row['ttft_p99']:.2f}", f"{row['hits']:.3f}"]
        cells += [f"{inner:,.0f}", f"{outer:,.0f}", f"{row['memory_mb']:.0f}"]
        cells += [f"{faster[0]:.0f}", f"{faster[1]:.0f}", f"{row['memory_mb'] / base['memory_mb']:.3f}"]
        yield f"| {name} | " + " | ".join(cells) + " |"


def differences(found, theirs_name):
    """By how much of theirs each figure differs."""
    other, own = found[theirs_name], found[f"here {MODELS[theirs_name]}"]
    return {key: own[key] / other[key] - 1 for key in AGREEING}


def agreement(found):
    for theirs_name, model in MODELS.items():
        told = ", ".join(f"{key} {difference:+.1%}" for key, difference in differences(found, theirs_name).items())
        yield f"{model} here against {theirs_name}: {told}"


def disagreements(found):
    """The figures of `round_robin` that differ by more than the tolerance."""
    apart = differences(found, "dynamo round_robin")
    return [f"{key} {difference:+.1%}" for key, difference in apart.items() if abs(difference) > TOLERANCE]


def main():
    given = arguments()
    try:
        found = run(given)
    except (Failure, OSError, KeyError) as error:
        sys.exit(f"error: {error}")
    print("\n".join([*table(found), "", *agreement(found)]))
    if given.json:
        facts = {"machine": platform.machine(), "workers": given.workers, "rounds": given.rounds, "found": found}
        given.json.write_text(json.dumps(facts, indent=2) + "\n")
    if apart := disagreements(found):
        print(f"error: round_robin differs by more than {TOLERANCE:.0%}: {', '.join(apart)}", file=sys.stderr)
        sys.exit(DISAGREEMENT)


main()

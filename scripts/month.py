"""What scripts/month.sh runs: see there."""

import argparse
import json
import subprocess
import sys

POLICIES = (
    "cache_aware kv_aware late least_connections least_uncached least_work lmetric prefix_affinity priority "
    "slo_aware sticky_least_loaded token_pools toll weighted_random weighted_scorers pd_pair"
).split()


def run(options, trace, policy):
    command = [options.router, "simulate", "--trace", trace, "--policy", policy, "--load", str(options.load)]
    command += ["--repeat", str(options.repeat), "--plugin-memory-mib", str(options.memory_mib), "--json"]
    ended = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if ended.returncode != 0:
        return None, ended.stderr.strip()
    return json.loads(ended.stdout)["runs"][0], ""


def faults(found):
    """What grew, or failed."""
    told = [f"the fallback decided {count} times ({cause})" for cause, count in found["fallbacks"].items()]
    sizes = [sample["bytes"] for sample in found.get("index_over_time", [])]
    quarter = len(sizes) // 4
    if quarter:
        early, late = max(sizes[quarter : 2 * quarter]), max(sizes[-quarter:])
        if late > early * 9 / 8:
            told.append(f"the index had {early} bytes in the second quarter and {late} in the last")
    return told


def main():
    parser = argparse.ArgumentParser(prog="scripts/month.sh", description="A month of a trace in a loop.")
    parser.add_argument("--router", required=True, help=argparse.SUPPRESS)
    parser.add_argument("traces", metavar="TRACE", nargs="+")
    parser.add_argument("--repeat", type=int, default=720, help="how often the trace comes (720)")
    parser.add_argument("--load", type=float, default=1.0, help="what its times are divided by (1)")
    parser.add_argument("--memory-mib", type=int, default=1, help="memory of a plugin, in MiB (1)")
    parser.add_argument("--policies", default=",".join(POLICIES), help="those that run, with commas (all)")
    options = parser.parse_args()
    is_fine = True
    for trace in options.traces:
        for policy in options.policies.split(","):
            found, error = run(options, trace, policy)
            told = faults(found) if found else [error]
            is_fine &= not told
            if found:
                sizes = [sample["bytes"] for sample in found.get("index_over_time", [])]
                index = f"index {max(sizes) / 2**20:.1f} MiB at most, {sizes[-1] / 2**20:.1f} at the end" if sizes else "no index"
                days, requests = found["duration"] / 86400, found["answered"]
                print(f"{trace} {policy}: {days:.1f} days, {requests} requests, {index}, {found['wall']:.0f} s", flush=True)
            for fault in told:
                print(f"  {policy}: {fault}", flush=True)
    print("nothing grows" if is_fine else "something grows or failed")
    return 0 if is_fine else 1


if __name__ == "__main__":
    sys.exit(main())

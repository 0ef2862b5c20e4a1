"""Compares whole routers on the same simulated workers. `routers.sh` runs it.

usage: routers --binary FILE --plugins DIR --environments DIR --work DIR --json FILE [--quick] ...
"""

import argparse
import json
import os
import pathlib
import platform
import signal
import subprocess
import sys

import load
import report
import routers
from collector import start_collector
from processes import Failure, end_all, start_worker


def arguments():
    parser = argparse.ArgumentParser(prog="benches/peers/routers.sh")
    parser.add_argument("--binary", type=pathlib.Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--plugins", type=pathlib.Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--environments", type=pathlib.Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--work", type=pathlib.Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--json", type=pathlib.Path, help="writes all figures into a file")
    parser.add_argument("--quick", action="store_true", help="two minutes: fewer requests and rounds")
    parser.add_argument("--prefix", action="store_true", help="policies that look at prompts, 8 KB prompts only")
    parser.add_argument("--tls", action="store_true", help="this router and nginx, with TLS and without")
    parser.add_argument("--watched", action="store_true", help="this router with an access log, with traces, and without")
    parser.add_argument("--operations", action="store_true", help="this router bare, with TLS, an access log, traces, --token-metrics; nginx with TLS and without")
    parser.add_argument("--recorded", action="store_true", help="this router with decision records, and without")
    parser.add_argument("--before", type=pathlib.Path, help="with --tls, --watched or --operations: another build of this router, bare")
    parser.add_argument("--rounds", type=int, help="rounds")
    parser.add_argument("--requests", type=int, help="requests of a router in a cell and round")
    parser.add_argument("--workers", type=int, default=4, help="simulated workers (default: 4)")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="threads (default: one per core)")
    parser.add_argument("--rate", type=int, default=1000, help="requests a second for latencies (default: 1000)")
    parser.add_argument("--only", help="names of routers with commas between them, such as plugin,nginx,smg")
    given = parser.parse_args()
    given.rounds = given.rounds or (3 if given.quick else 7)
    given.requests = given.requests or (1500 if given.quick else 10_000)
    given.seconds = 3 if given.quick else 10
    return given


def start_all(given, urls):
    common = (urls, given.threads, given.work)
    if given.tls:
        return start_tls(given, common)
    if given.watched:
        return start_watched(given, common)
    if given.operations:
        return start_operations(given, common)
    if given.recorded:
        return start_recorded(given, common)
    own = routers.PREFIX_HERE if given.prefix else routers.HERE
    theirs = routers.PREFIX_POLICY if given.prefix else "round_robin"
    starts = {name: lambda name=name: routers.here(name, given.binary, given.plugins, *common) for name in own}
    for name in routers.PEERS:
        starts[name] = lambda name=name: routers.peer(name, given.environments, theirs, *common)
    if not given.prefix:
        starts[routers.NGINX] = lambda: routers.nginx(*common)
    aliases = {name.removeprefix("here, ").replace(" ", "_"): name for name in own}
    chosen = [aliases.get(name, name) for name in given.only.split(",")] if given.only else list(starts)
    for name in chosen:
        if name not in starts:
            known = ", ".join([*aliases, *routers.PEERS, routers.NGINX])
            raise Failure(f"--only: found {name}; allowed: {known}")
    return [start() for name, start in starts.items() if name in chosen]


def make_certificates(given):
    script = pathlib.Path(__file__).parents[3] / "scripts" / "make_certificate.sh"
    subprocess.run([script, given.work], check=True)
    return tuple(given.work / name for name in ("authority.pem", "server.pem", "server.key"))


def start_tls(given, common):
    pair = make_certificates(given)
    fleet = [
        routers.here(routers.ROUND_ROBIN, given.binary, given.plugins, *common),
        routers.here(routers.TLS, given.binary, given.plugins, *common, certificates=pair),
        routers.nginx(*common),
        routers.nginx(*common, certificates=pair),
    ]
    return fleet + start_before(given, common)


def watched_routers(given, common):
    collector = start_collector()
    start = lambda name, *more: routers.here(name, given.binary, given.plugins, *common, more=more)
    return [
        start(routers.ACCESS_LOG, "--access-log", given.work / "access.log"),
        start(routers.TRACES, "--enable-trace", "--otlp-traces-endpoint", collector, "--otel-sampling-ratio", "0.01"),
    ]


def start_watched(given, common):
    bare = routers.here(routers.ROUND_ROBIN, given.binary, given.plugins, *common)
    fleet = [bare, *watched_routers(given, common), routers.nginx(*common)]
    return fleet + start_before(given, common)


def start_operations(given, common):
    start = lambda name, **more: routers.here(name, given.binary, given.plugins, *common, **more)
    pair = make_certificates(given)
    fleet = [
        start(routers.ROUND_ROBIN),
        start(routers.TLS, certificates=pair),
        *watched_routers(given, common),
        start(routers.TOKEN_METRICS, more=["--token-metrics"]),
        routers.nginx(*common),
        routers.nginx(*common, certificates=pair),
    ]
    return fleet + start_before(given, common)


def start_recorded(given, common):
    def start(name, file, share, inputs):
        more = ("--record-sample", share, "--record-file", given.work / file, "--record-inputs", inputs)
        return routers.here(name, given.binary, given.plugins, *common, more=more)

    return [
        routers.here(routers.ROUND_ROBIN, given.binary, given.plugins, *common),
        start(routers.RECORDS, "declared.jsonl", "1", "declared"),
        start(routers.ALL_INPUTS_SAMPLED, "sampled.jsonl", "0.01", "all"),
        start(routers.ALL_INPUTS, "all.jsonl", "1", "all"),
    ]


def start_before(given, common):
    return [routers.here(routers.BEFORE, given.before, given.plugins, *common)] if given.before else []


def measure_cpu(given, fleet):
    cells = load.LONG_CELLS if given.prefix else load.CELLS
    measured = {load.title(cell): {router.name: [] for router in fleet} for cell in cells}
    # Connections to workers are opened and heaps grow before anything counts.
    for router in fleet:
        for cell in cells:
            load.cpu_of(given.binary, router, given.work, cell, 300)
    for number in range(given.rounds):
        for cell in cells:
            progress(f"round {number + 1} of {given.rounds}: {load.title(cell)}")
            # Another router is first in every round.
            turn = number % len(fleet)
            for router in fleet[turn:] + fleet[:turn]:
                cpu, _ = load.cpu_of(given.binary, router, given.work, cell, given.requests)
                measured[load.title(cell)][router.name].append(cpu)
    return measured


def measure_latency(given, fleet):
    rounds = 1 if given.quick else 3
    latencies = {router.name: [] for router in fleet}
    for number in range(rounds):
        for router in fleet:
            progress(f"latency at a fixed rate, round {number + 1} of {rounds}: {router.name}")
            latencies[router.name].append(
                load.latency_of(given.binary, router, given.work, given.rate, given.seconds)
            )
    return latencies


def progress(text):
    print(f"  {text}", file=sys.stderr, flush=True)


def versions(given, fleet):
    found = {}
    for router in fleet:
        if router.name in routers.PEERS:
            pip = [given.environments / router.name / "bin" / "pip", "show", router.name]
            text = subprocess.run(pip, capture_output=True, text=True, check=True).stdout
            found[router.name] = text.split("Version: ", 1)[1].split()[0]
        elif router.name in (routers.NGINX, routers.NGINX_TLS):
            text = subprocess.run(["nginx", "-v"], capture_output=True, text=True, check=True).stderr
            found[router.name] = text.strip().rpartition("/")[2]
    return found


def compare(given):
    urls = [start_worker(given.binary, number, given.work) for number in range(given.workers)]
    fleet = start_all(given, urls)
    settings = {
        "versions": versions(given, fleet),
        "workers": given.workers,
        "threads": given.threads,
        "rounds": given.rounds,
        "requests": given.requests,
        "rate": given.rate,
        "threads_seen": {router.name: router.program.threads() for router in fleet},
        "commands": {router.name: " ".join(map(str, router.program.command)) for router in fleet},
        "machine": platform.platform(),
    }
    cpu = measure_cpu(given, fleet)
    only_cpu = given.prefix or given.tls or given.watched or given.operations or given.recorded
    latencies = {} if only_cpu else measure_latency(given, fleet)
    return {"settings": settings, "cpu_us": cpu, "latency_ms": latencies}


def stop(_number, _frame):
    raise Failure("stopped by a signal")


def main():
    given = arguments()
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    try:
        result = compare(given)
    except Failure as failure:
        sys.exit(f"error: {failure}")
    finally:
        end_all()
    if given.json:
        given.json.write_text(json.dumps(result, indent=1))
    print(report.page(result))


main()

"""One run of `sgl-router load` against one router."""

import collections
import json
import subprocess

from processes import Failure

OUTPUT_TOKENS = 8

Cell = collections.namedtuple("Cell", "prompt_bytes stream connections")
CELLS = [Cell(b, s, c) for s in (False, True) for b in (200, 8192) for c in (32, 128)]
# What policies that look at prompts are compared on.
LONG_CELLS = [cell for cell in CELLS if cell.prompt_bytes > 1024]


def title(cell):
    kind = "stream" if cell.stream else "plain"
    size = f"{cell.prompt_bytes} B" if cell.prompt_bytes < 1024 else f"{cell.prompt_bytes // 1024} KB"
    return f"{kind}, {size}, {cell.connections} connections"


def run(binary, url, authority, work, prompt_bytes, stream, *pace):
    """The report of a run in which every request was answered."""
    report = work / "load.json"
    report.unlink(missing_ok=True)
    command = [binary, "load", "--url", url, "--rounds", "1", "--model", "sim-model", *pace]
    command += ["--prompt-tokens", str(prompt_bytes // 4), "--output-tokens", str(OUTPUT_TOKENS)]
    command += ["--stream"] if stream else []
    command += ["--ca-cert-paths", str(authority)] if authority else []
    command += ["--max-error-rate", "0", "--json", str(report)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise Failure(f"{' '.join(map(str, command))}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    target = json.loads(report.read_text())["targets"][0]
    if target["failed"]:
        raise Failure(f"{target['failed']} requests failed: {target['errors']}")
    return target


def cpu_of(binary, router, work, cell, requests):
    """CPU microseconds of the router per request, closed loop, and requests a second."""
    url = router.stream_url if cell.stream else router.url
    pace = ["--connections", str(cell.connections), "--requests", str(requests)]
    before = router.program.cpu_seconds()
    target = run(binary, url, router.authority, work, cell.prompt_bytes, cell.stream, *pace)
    after = router.program.cpu_seconds()
    if target["requests"] != requests:
        raise Failure(f"{router.name}: {target['requests']} requests instead of {requests}")
    tokens = target["rounds"][0]["tokens"]
    if tokens != requests * OUTPUT_TOKENS:
        raise Failure(f"{router.name}: {tokens} tokens in {requests} answers")
    return (after - before) / requests * 1e6, target["median"]["requests_per_second"]


def latency_of(binary, router, work, rate, seconds):
    """Latencies in milliseconds, open loop: from when a request is due. And CPU time per request."""
    pace = ["--rate", str(rate), "--duration", f"{seconds}s", "--warmup", "1s"]
    before = router.program.cpu_seconds()
    target = run(binary, router.url, router.authority, work, 200, False, *pace)
    after = router.program.cpu_seconds()
    requests = target["requests"] + target["rounds"][0]["warmup_requests"]
    return {**target["median"]["latency_ms"], "cpu_us": (after - before) / requests * 1e6}

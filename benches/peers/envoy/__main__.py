"""CPU time per request of Envoy and of whom it asks: nobody, a bare ext_proc server, the picker."""

import argparse
import pathlib
import statistics
import subprocess
import sys
import tempfile
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "routers"))
import load  # noqa: E402
from processes import Failure, Program, answers, end_all, free_port, start_worker  # noqa: E402


class Way:
    """A way to the workers: Envoy, and whom it asks, if anybody."""

    def __init__(self, name, envoy, asked, url):
        self.name, self.envoy, self.asked, self.url = name, envoy, asked, url
        self.times = []

    def measure(self, binary, work, prompt_bytes, stream, connections, requests):
        pace = ["--connections", str(connections), "--requests", str(requests)]
        before = self.envoy.cpu_seconds(), self.asked.cpu_seconds() if self.asked else 0
        load.run(binary, self.url, None, work, prompt_bytes, stream, *pace)
        after = self.envoy.cpu_seconds(), self.asked.cpu_seconds() if self.asked else 0
        return tuple((b - a) / requests * 1e6 for a, b in zip(before, after))


def printed(binary, workers, picker_port, listen_port, admin_port):
    command = [binary, "picker", "--print-envoy-config", "--port", str(picker_port)]
    command += ["--envoy-listen", f"127.0.0.1:{listen_port}", "--worker-urls", *workers]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return text.replace("port_value: 9901", f"port_value: {admin_port}")


def without_ext_proc(config):
    """The configuration without the filter that asks."""
    before, rest = config.split("          - name: envoy.filters.http.ext_proc\n", 1)
    after = rest[rest.index("          - name: envoy.filters.http.router\n"):]
    return before + after


def start_envoy(options, name, config, listen_port, work):
    file = work / f"{name.replace(' ', '_')}.yaml"
    file.write_text(config)
    command = [options.envoy, "-c", file, "--disable-hot-restart", "--concurrency", "1", "-l", "warning"]
    program = Program(f"envoy, {name}", command, work)
    url = f"http://127.0.0.1:{listen_port}"
    program.wait_for(lambda: answers(url))
    return program, url


def way(options, name, workers, work, start_asked):
    picker_port, listen_port, admin_port = free_port(), free_port(), free_port()
    config = printed(options.binary, workers, picker_port, listen_port, admin_port)
    asked = start_asked(picker_port) if start_asked else None
    if asked is None:
        config = without_ext_proc(config)
    envoy, url = start_envoy(options, name, config, listen_port, work)
    made = Way(name, envoy, asked, url)
    made.stats = f"http://127.0.0.1:{admin_port}/stats?format=text"
    return made


def start_bare(options, work):
    def start(port):
        program = Program("bare", [options.bare, f"127.0.0.1:{port}"], work)
        program.wait_for(lambda: "listening" in program.log.read_text())
        return program

    return start


def start_picker(options, work, workers, name, flags):
    def start(port):
        command = [options.binary, "picker", "--port", str(port), "--prometheus-port", "0", "--admin-port", "0"]
        command += [*flags, "--worker-urls", *workers]
        program = Program(f"picker {name}", command, work)
        program.wait_for(lambda: "serving" in program.log.read_text())
        return program

    return start


def check_asked(ways):
    """Fails if an Envoy went on without being answered."""
    for way in ways:
        with urllib.request.urlopen(way.stats, timeout=5) as response:
            for line in response.read().decode().splitlines():
                name, _, value = line.partition(": ")
                if name.endswith("ext_proc.failure_mode_allowed") and int(value):
                    raise Failure(f"{way.name}: {line}")


def ways_of(options, workers, work):
    plugin = f"least=dist/plugins/least_connections.wasm"
    pickers = {
        "picker, round_robin": ["--policy", "round_robin"],
        "picker, least_connections.wasm": ["--policy", "least", "--plugin", plugin],
        "picker, cache_aware.wasm": ["--policy", "cache", "--plugin", "cache=dist/plugins/cache_aware.wasm"],
    }
    made = [way(options, "nobody", workers, work, None), way(options, "bare", workers, work, start_bare(options, work))]
    for name, flags in pickers.items():
        made.append(way(options, name, workers, work, start_picker(options, work, workers, name, flags)))
    return made


def main():
    parser = argparse.ArgumentParser(prog="envoy.sh", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--requests", type=int, default=4000)
    parser.add_argument("--connections", type=int, default=32)
    for name in ("--binary", "--bare", "--envoy"):
        parser.add_argument(name, required=True, help=argparse.SUPPRESS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sgl-envoy-bench.") as folder:
        work = pathlib.Path(folder)
        try:
            workers = [start_worker(options.binary, number, work) for number in range(4)]
            ways = ways_of(options, workers, work)
            print(f"{options.connections} connections, {options.rounds} rounds of {options.requests} requests, in turns")
            for prompt_bytes, stream in ((200, False), (8192, False), (8192, True)):
                compare(options, ways, work, prompt_bytes, stream)
            check_asked(ways)
        finally:
            end_all()


def compare(options, ways, work, prompt_bytes, stream):
    times = {way.name: [] for way in ways}
    for number in range(options.rounds + 1):
        for way in ways:
            measured = way.measure(options.binary, work, prompt_bytes, stream, options.connections, options.requests)
            # The first round warms up.
            if number:
                times[way.name].append(measured)
    bare = statistics.median(sum(pair) for pair in times["bare"])
    print(f"\n{prompt_bytes} B, {'streamed' if stream else 'plain'}; CPU us per request, medians")
    print(f"{'whom Envoy asks':34} {'Envoy':>7} {'asked':>7} {'both':>7} {'to bare':>8}")
    for way in ways:
        envoy, asked = (statistics.median(part) for part in zip(*times[way.name]))
        both = statistics.median(sum(pair) for pair in times[way.name])
        print(f"{way.name:34} {envoy:7.1f} {asked:7.1f} {both:7.1f} {both / bare:8.2f}")


main()

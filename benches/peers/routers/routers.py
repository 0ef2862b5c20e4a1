"""How each router is started: the same workers, as many threads, as little logging."""

import os
import pathlib

from processes import Program, answers, free_port

# Names of the routers here. Everything else is a peer.
PLUGIN = "here, plugin"
PREFIX_PLUGIN = "here, prefix plugin"
LEAST_LOAD = "here, least_load"
ROUND_ROBIN = "here, round_robin"
TLS = "here, TLS"
ACCESS_LOG = "here, access log"
TRACES = "here, traces of 1 %"
TOKEN_METRICS = "here, token metrics"
RECORDS = "here, records"
ALL_INPUTS = "here, records of all inputs"
ALL_INPUTS_SAMPLED = "here, 1 % of records of all inputs"
BEFORE = "before, round_robin"
NGINX = "nginx"
NGINX_TLS = "nginx, TLS"
HERE = [PLUGIN, LEAST_LOAD, ROUND_ROBIN]
# Policies that look at prompts, and what this router takes without one.
PREFIX_HERE = [PREFIX_PLUGIN, ROUND_ROBIN]
PREFIX_POLICY = "cache_aware"
HEALTH_SECONDS = "60"


class Router:
    """A router that serves."""

    def __init__(self, name, program, url, stream_url=None, authority=None):
        self.name = name
        # Whom the clients of TLS have to trust.
        self.authority = authority
        self.program = program
        self.url = url
        # nginx needs another setting for streams.
        self.stream_url = stream_url or url
        program.wait_for(lambda: all(answers(url, authority) for url in (self.url, self.stream_url)))


PLUGINS = {PLUGIN: "least_connections", PREFIX_PLUGIN: "least_uncached"}
OF_ROUND_ROBIN = (ROUND_ROBIN, TLS, BEFORE, ACCESS_LOG, TRACES, TOKEN_METRICS, RECORDS, ALL_INPUTS, ALL_INPUTS_SAMPLED)
POLICIES = {LEAST_LOAD: "least_load"} | {name: "round_robin" for name in OF_ROUND_ROBIN}


def here(name, binary, plugins, workers, threads, work, certificates=None, more=()):
    policy = (PLUGINS | POLICIES)[name]
    port = free_port()
    command = [binary, "serve", "--port", str(port), "--prometheus-port", "0", "--admin-port", "0"]
    command += ["--policy", policy, "--log-level", "warn", "--health-check-interval-secs", HEALTH_SECONDS]
    if name in PLUGINS:
        command += ["--plugin", f"{policy}={plugins / policy}.wasm"]
    command += ["--worker-urls", *workers, *more]
    scheme, authority = "http", None
    if certificates:
        scheme, (authority, certificate, key) = "https", certificates
        command += ["--tls-cert-path", certificate, "--tls-key-path", key]
    program = Program(name, command, work, {"TOKIO_WORKER_THREADS": str(threads)})
    return Router(name, program, f"{scheme}://127.0.0.1:{port}", authority=authority)


# From PyPI. Their routers are written in Rust and read the same variable.
PEERS = {
    "sglang-router": (["sglang-router", "launch"], "warn"),
    "smg": (["smg", "launch"], "warn"),
    "vllm-router": (["vllm-router"], "warning"),
}


def peer(name, environments, policy, workers, threads, work):
    (program, *arguments), log_level = PEERS[name]
    port = free_port()
    command = [environments / name / "bin" / program, *arguments]
    command += ["--host", "127.0.0.1", "--port", str(port), "--prometheus-port", str(free_port())]
    command += ["--policy", policy, "--log-level", log_level]
    command += ["--health-check-interval-secs", HEALTH_SECONDS]
    command += ["--worker-urls", *workers]
    program = Program(name, command, work, {"TOKIO_WORKER_THREADS": str(threads)})
    return Router(name, program, f"http://127.0.0.1:{port}")


NGINX_CONFIG = """
daemon off;
{user}
worker_processes {threads};
pid {home}/nginx.pid;
error_log {home}/nginx_error.log error;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    keepalive_requests 100000000;
    client_body_temp_path {home}/nginx_body;
    proxy_temp_path {home}/nginx_proxy;
    fastcgi_temp_path {home}/nginx_fastcgi;
    uwsgi_temp_path {home}/nginx_uwsgi;
    scgi_temp_path {home}/nginx_scgi;
    {tls}
    upstream workers {{
        {servers}
        keepalive 512;
        keepalive_requests 100000000;
    }}
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    server {{
        listen 127.0.0.1:{port}{ssl};
        location / {{ proxy_pass http://workers; }}
    }}
    server {{
        listen 127.0.0.1:{stream_port}{ssl};
        proxy_buffering off;
        location / {{ proxy_pass http://workers; }}
    }}
}}
"""


# The one cipher that the load generator asks for first, so that both encrypt the same.
NGINX_TLS_CONFIG = """
    ssl_certificate {certificate};
    ssl_certificate_key {key};
    ssl_protocols TLSv1.3;
    ssl_conf_command Ciphersuites TLS_AES_256_GCM_SHA384;
"""


def nginx(workers, threads, work, certificates=None):
    port, stream_port = free_port(), free_port()
    name = NGINX_TLS if certificates else NGINX
    home = pathlib.Path(work) / name.replace(", ", "_")
    home.mkdir()
    ssl, tls, scheme, authority = "", "", "http", None
    if certificates:
        authority, certificate, key = certificates
        ssl, tls, scheme = " ssl", NGINX_TLS_CONFIG.format(**locals()), "https"
    servers = "\n        ".join(f"server {url.removeprefix('http://')};" for url in workers)
    # Started by root it would change to a user who may not read the directory.
    user = "user root;" if os.getuid() == 0 else ""
    config = home / "nginx.conf"
    config.write_text(NGINX_CONFIG.format(**locals()))
    program = Program(name, ["nginx", "-c", config, "-p", home], work)
    urls = [f"{scheme}://127.0.0.1:{number}" for number in (port, stream_port)]
    return Router(name, program, *urls, authority)

#!/usr/bin/env python3
"""Makes what is made of other files here: the dashboard (grafana.json) of the panels below, and the
PrometheusRule of the operator of alerts.yaml. Needs nothing but Python.

usage: deploy/monitoring/make.py [--check]     --check: fails if a file is not as it would be made
"""

import json
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
DASHBOARD = HERE / "grafana.json"
ALERTS = HERE / "alerts.yaml"
OPERATORS_ALERTS = HERE.parent / "kubernetes" / "with-prometheus-operator" / "alerts.yaml"

# What every query is limited to: the routers that are chosen at the top.
ROUTERS = 'job=~"$job", instance=~"$instance"'
FAILED = 'status="5xx"'
# Grafana's grid has 24 columns.
COLUMNS = 24


# --- queries -------------------------------------------------------------------------------


def series(metric, *labels):
    """The series of a metric, with the router's prefix, that these labels pick."""
    return f"sgl_router_{metric}{{{', '.join((ROUTERS, *labels))}}}"


def total(metric, by="", *labels):
    return f"sum{f' by ({by})' if by else ''} ({series(metric, *labels)})"


def rate(metric, by="", *labels):
    return f"sum{f' by ({by})' if by else ''} (rate({series(metric, *labels)}[$__rate_interval]))"


def quantile(share, metric, by=""):
    groups = ", ".join(filter(None, ("le", by)))
    return f"histogram_quantile({share}, {rate(f'{metric}_bucket', groups)})"


def quantiles(metric, by="", legend=""):
    return [(quantile(share, metric, by), f"p{round(share * 100)}{legend}") for share in (0.5, 0.9, 0.99)]


# --- panels --------------------------------------------------------------------------------


def panel(kind, title, queries, unit, width, height, description, **rest):
    defaults = {"unit": unit, "min": 0}
    defaults |= rest.pop("defaults", {})
    targets = [
        {"refId": chr(ord("A") + place), "expr": expr, "legendFormat": legend, "datasource": SOURCE}
        for place, (expr, legend) in enumerate(queries)
    ]
    return {
        "type": kind,
        "title": title,
        "description": description,
        "datasource": SOURCE,
        "targets": targets,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "gridPos": {"w": width, "h": height},
        **rest,
    }


def figure(title, query, unit, description, red_from=None, red_below=None):
    steps = [{"color": "text", "value": None}]
    if red_from is not None:
        steps = [{"color": "green", "value": None}, {"color": "red", "value": red_from}]
    if red_below is not None:
        steps = [{"color": "red", "value": None}, {"color": "green", "value": red_below}]
    options = {"reduceOptions": {"calcs": ["lastNotNull"]}, "graphMode": "area", "colorMode": "value"}
    thresholds = {"mode": "absolute", "steps": steps}
    return panel("stat", title, [(query, "")], unit, 4, 4, description, options=options, defaults={"thresholds": thresholds})


def curves(title, queries, unit, description, width=8, stacked=False):
    style = {"lineWidth": 1, "fillOpacity": 60 if stacked else 8, "showPoints": "never"}
    style["stacking"] = {"mode": "normal" if stacked else "none"}
    options = {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi", "sort": "desc"}}
    return panel("timeseries", title, queries, unit, width, 8, description, options=options, defaults={"custom": style})


SOURCE = {"type": "prometheus", "uid": "${source}"}

ROWS = {
    "Now": [
        figure("Requests", rate("requests_total"), "reqps", "Answered requests a second."),
        figure(
            "Answers of 5xx",
            # No 5xx yet is none, not unknown.
            f"({rate('requests_total', '', FAILED)} or vector(0)) / {rate('requests_total')}",
            "percentunit",
            "Share of the answers, the router's own and those of workers.",
            red_from=0.01,
        ),
        figure("First byte, p99", quantile(0.99, "first_byte_seconds"), "s", "Time to the first byte of an answer's body."),
        figure(
            "Workers that may be chosen",
            f"sum({series('worker_healthy')}) / count({series('worker_healthy')})",
            "percentunit",
            "Healthy, circuit closed, not draining, not full.",
            red_below=0.5,
        ),
        figure("In flight", total("worker_in_flight"), "short", "Requests at workers."),
        figure("Waiting", total("queue_waiting"), "short", "Requests that wait in the router."),
    ],
    "Requests": [
        curves("Answers by status", [(rate("requests_total", "status"), "{{status}}")], "reqps", "Answered requests a second.", stacked=True),
        curves("Time to the first byte", quantiles("first_byte_seconds"), "s", "Of an answer's body; of a stream, its first event."),
        curves("Time to the last byte", quantiles("request_duration_seconds"), "s", "Whole answers, streams included."),
        curves("Time to the first token", quantiles("time_to_first_token_seconds", "model", " {{model}}"), "s", "Of streams, from the request's head on; time in the queue is in it."),
        curves("Time per token", quantiles("time_per_token_seconds", "model", " {{model}}"), "s", "Of streams whose tokens are counted: --token-metrics, keys of clients, or a policy that learns from them."),
        curves("Refused by the router, by code", [(rate("refused_requests_total", "code"), "{{code}}")], "reqps", "Answered with an error of the router's own; docs/operations.md says what each code means.", stacked=True),
        curves("Tried again, by reason", [(rate("retries_total", "reason"), "{{reason}}")], "reqps", "Requests that went to another worker.", stacked=True),
        curves("No worker, by reason", [(rate("unplaced_requests_total", "reason"), "{{reason}}")], "reqps", "Answered with 503 no_worker_available.", stacked=True),
        curves(
            "Answers that ended early",
            [
                (rate("broken_answers_total"), "broke off"),
                (rate("error_events_total"), "error in the stream"),
                (rate("client_disconnects_total"), "client hung up"),
            ],
            "reqps",
            "Broken by a worker or by time, ended by an error event, or left by the client.",
        ),
    ],
    "Workers": [
        curves("In flight, by worker", [(total("worker_in_flight", "worker"), "{{worker}}")], "short", "From the routers that are chosen above."),
        curves("Requests, by worker", [(rate("worker_requests_total", "worker"), "{{worker}}")], "reqps", "Whatever became of them.", stacked=True),
        curves("What became of them", [(rate("worker_requests_total", "outcome"), "{{outcome}}")], "reqps", "refused: 4xx; full: 429 and 503; abandoned: the client did not wait.", stacked=True),
        curves("Tokens, by worker", [(rate("worker_tokens_total", "worker, kind"), "{{worker}} {{kind}}")], "short", "Tokens a second, as answers tell them; cached ones are among those of prompts.", width=12),
        curves("Tokens, by model", [(rate("worker_tokens_total", "model, kind"), "{{model}} {{kind}}")], "short", "Tokens a second, as answers tell them.", width=12),
        curves("May be chosen", [(f"min by (worker) ({series('worker_healthy')})", "{{worker}}")], "short", "1, or 0: checks fail, circuit open, draining or full.", width=6),
        curves("Circuit", [(f"max by (worker) ({series('worker_circuit_state')})", "{{worker}}")], "short", "0 closed, 1 open, 2 half-open.", width=6),
        curves("Age of reported load", [(f"max by (worker) ({series('worker_report_age_seconds')})", "{{worker}}")], "s", "Above a few seconds, policies do not see the worker's queue.", width=6),
        curves("KV events, by kind", [(rate("worker_kv_events_total", "kind"), "{{kind}}")], "short", "Told by engines that publish what their caches hold.", width=6),
    ],
    "Policy": [
        curves("Share of the decisions", [(f"max by (policy, role) ({series('policy_share')})", "{{policy}} {{role}}")], "percentunit", "Of the policy in use, and of one on trial beside it.", width=12),
        curves("Trials of policies, by end", [(rate("policy_trials_total", "end"), "{{end}}")], "reqps", "rolled_back: a bound was broken; withdrawn: ended by an operator.", width=12),
        curves("Decisions, by plugin", [(rate("plugin_decisions_total", "plugin"), "{{plugin}}")], "reqps", "Asked of the plugin, failed ones included."),
        curves("Time of a decision", quantiles("plugin_decision_seconds", "plugin", " {{plugin}}"), "s", "One decision in sixteen is measured."),
        curves("Failures, by cause", [(rate("plugin_failures_total", "plugin, cause"), "{{plugin}} {{cause}}")], "reqps", "docs/wasm_plugins.md says what each cause means."),
        curves(
            "Decided otherwise",
            [
                (rate("plugin_fallbacks_total", "plugin"), "fallback of {{plugin}}"),
                (rate("plugin_sheds_total", "plugin"), "refused by {{plugin}}"),
                (rate("plugin_waits_total", "plugin"), "had wait by {{plugin}}"),
            ],
            "reqps",
            "Decisions of the fallback policy, requests that the plugin refused or had wait.",
            width=6,
        ),
        curves(
            "Generations",
            [
                (f"max by (plugin) ({series('plugin_generation')})", "{{plugin}} serves"),
                (f"max by (plugin) ({series('plugin_live_generations')})", "{{plugin}} live"),
            ],
            "short",
            "The number of the one that serves, and how many live: 2 during canary, shadow and probation.",
            width=6,
        ),
        curves(
            "Instances",
            [
                (total("plugin_instances_idle", "plugin"), "{{plugin}} idle"),
                (total("plugin_instances_busy", "plugin"), "{{plugin}} busy"),
                (total("plugin_callers_waiting", "plugin"), "waiting for {{plugin}}"),
            ],
            "short",
            "Callers that wait for long: raise max_instances.",
            width=6,
        ),
        curves(
            "Out of the path",
            [
                (f"max by (plugin) ({series('plugin_breaker_open')})", "{{plugin}} breaker"),
                (f"max by (plugin) ({series('plugin_paused')})", "{{plugin}} paused"),
                (f"max by (plugin) ({series('plugin_canary_share')})", "{{plugin}} canary"),
            ],
            "short",
            "1 while the breaker or an operator keeps a plugin out; the canary's share of the decisions.",
            width=6,
        ),
    ],
    "Router": [
        curves("Processor", [(f"rate(process_cpu_seconds_total{{{ROUTERS}}}[$__rate_interval])", "{{instance}}")], "short", "Cores in use.", width=6),
        curves("Memory", [(f"process_resident_memory_bytes{{{ROUTERS}}}", "{{instance}}")], "bytes", "Resident, the plugins' included.", width=6),
        curves(
            "Descriptors",
            [(f"process_open_fds{{{ROUTERS}}} / process_max_fds{{{ROUTERS}}}", "{{instance}}")],
            "percentunit",
            "Open ones, of those that it may have open.",
            width=6,
        ),
        curves("Build", [(f"sum by (version, commit) ({series('build_info')})", "{{version}} {{commit}}")], "short", "Routers of each build.", width=6),
        curves("Connections of clients", [(total("client_connections", "instance"), "{{instance}}")], "short", "Limit: server.max_connections.", width=6),
        curves("Memory for bodies", [(total("body_bytes", "instance"), "{{instance}}")], "bytes", "Limit: server.max_total_body_bytes.", width=6),
        curves("Waiting, by what for", [(total("queue_waiting", "for"), "{{for}}")], "short", "Their turn, a worker, or the plugin's leave.", width=6),
        curves(
            "Refused for want of something",
            [(rate("refused_bodies_total"), "memory for bodies"), (rate("own_shortages_total"), "descriptors or ports")],
            "reqps",
            "Answered with 503 router_out_of_memory and router_out_of_resources.",
            width=6,
        ),
        curves("Lines of the access log", [(rate("access_log_lines_total", "outcome"), "{{outcome}}")], "reqps", "failed and dropped ones are lost; docs/observability.md says why.", width=12),
        curves("Spans of traces", [(rate("trace_spans_total", "outcome"), "{{outcome}}")], "reqps", "failed: the collector did not take them; dropped: too many waited.", width=12),
        curves("Index of prefixes", [(total("prefix_index_bytes", "instance"), "{{instance}}")], "bytes", "Limit: requests.prefix_index_max_bytes."),
        curves("Blocks in the index", [(total("prefix_index_blocks", "source"), "{{source}}")], "short", "By what was sent to workers, and by what engines report."),
        curves(
            "Certificates",
            [(f"min by (instance, certificate) ({series('tls_certificate_not_after_seconds')}) - time()", "{{instance}} {{certificate}}")],
            "s",
            "Time that is left, where there is TLS.",
        ),
    ],
}


# --- the dashboard -------------------------------------------------------------------------


def placed(rows):
    """All panels, each with its place in the grid and its number."""
    panels, top = [], 0
    for title, row in rows.items():
        panels.append({"type": "row", "title": title, "collapsed": False, "panels": [], "gridPos": {"x": 0, "y": top, "w": COLUMNS, "h": 1}})
        top += 1
        left = height = 0
        for one in row:
            if left + one["gridPos"]["w"] > COLUMNS:
                top, left, height = top + height, 0, 0
            one["gridPos"] |= {"x": left, "y": top}
            left += one["gridPos"]["w"]
            height = max(height, one["gridPos"]["h"])
            panels.append(one)
        top += height
    return [one | {"id": number} for number, one in enumerate(panels, 1)]


def choice(name, label, query):
    """A variable of the dashboard that lists the values of a label."""
    every = {"includeAll": True, "multi": True, "allValue": ".*", "current": {"text": "All", "value": "$__all"}}
    return {"name": name, "label": label, "type": "query", "datasource": SOURCE, "query": query, "refresh": 2, "sort": 1, **every}


def dashboard():
    metric = "sgl_router_client_connections"
    return {
        "uid": "sgl-router",
        "title": "sgl-router",
        "tags": ["llm", "sgl-router"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        # One point in the middle of a curve, and it is seen where a curve begins.
        "graphTooltip": 1,
        "templating": {
            "list": [
                {"name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus"},
                choice("job", "Job", f"label_values({metric}, job)"),
                choice("instance", "Router", f'label_values({metric}{{job=~"$job"}}, instance)'),
            ]
        },
        "panels": placed(ROWS),
    }


def operators_alerts():
    rules = "".join(f"  {line}\n" if line else "\n" for line in ALERTS.read_text().splitlines() if not line.startswith("#"))
    return (
        "# Made of deploy/monitoring/alerts.yaml by deploy/monitoring/make.py: change that file, not this one.\n"
        "apiVersion: monitoring.coreos.com/v1\nkind: PrometheusRule\nmetadata:\n  name: sgl-router\nspec:\n" + rules
    )


def main():
    if sys.argv[1:] not in ([], ["--check"]):
        sys.exit(__doc__)
    made = {DASHBOARD: json.dumps(dashboard(), indent=1) + "\n", OPERATORS_ALERTS: operators_alerts()}
    for path, text in made.items():
        if sys.argv[1:] != ["--check"]:
            path.write_text(text)
        elif not path.exists() or path.read_text() != text:
            sys.exit(f"out of date: {path}; run deploy/monitoring/make.py")


main()

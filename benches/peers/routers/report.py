"""What was measured as Markdown: for the terminal, and for the page."""

import statistics

from routers import ACCESS_LOG, ALL_INPUTS, ALL_INPUTS_SAMPLED, BEFORE, HERE, LEAST_LOAD, NGINX, NGINX_TLS, PLUGIN
from routers import PREFIX_PLUGIN, RECORDS, ROUND_ROBIN, TLS, TOKEN_METRICS, TRACES


def medians(measured):
    """CPU microseconds per request by cell and router."""
    return {
        cell: {name: statistics.median(values) for name, values in rounds.items()}
        for cell, rounds in measured.items()
    }


def row(*cells):
    return "| " + " | ".join(cells) + " |"


def cpu_table(measured):
    found = medians(measured)
    names = list(next(iter(found.values())))
    lines = [row("CPU µs a request", *names), "|---" * (len(names) + 1) + "|"]
    for cell, values in found.items():
        lines.append(row(cell, *(f"{values[name]:.1f}" for name in names)))
    return "\n".join(lines)


def ratio(rounds, name, others):
    """The median over the rounds of one router's CPU time over that of the best of the others."""
    present = [rounds[other] for other in others if other in rounds]
    if name not in rounds or not present:
        return "-"
    best = [min(values) for values in zip(*present)]
    return f"{statistics.median(a / b for a, b in zip(rounds[name], best)):.2f}"


# What is compared with what, by what only one of the tables has.
PAIRS = {
    # All side by side: what each costs, and the same of nginx.
    TOKEN_METRICS: [
        (TLS, NGINX_TLS),
        (TLS, ROUND_ROBIN),
        (NGINX_TLS, NGINX),
        (TRACES, ROUND_ROBIN),
        (ACCESS_LOG, ROUND_ROBIN),
        (TOKEN_METRICS, ROUND_ROBIN),
        (ROUND_ROBIN, NGINX),
        (ROUND_ROBIN, BEFORE),
    ],
    TLS: [(TLS, NGINX_TLS), (ROUND_ROBIN, NGINX), (TLS, ROUND_ROBIN), (NGINX_TLS, NGINX), (ROUND_ROBIN, BEFORE)],
    TRACES: [(TRACES, ROUND_ROBIN), (ACCESS_LOG, ROUND_ROBIN), (ROUND_ROBIN, BEFORE), (ROUND_ROBIN, NGINX)],
    ALL_INPUTS: [(other, ROUND_ROBIN) for other in (RECORDS, ALL_INPUTS_SAMPLED, ALL_INPUTS)],
}


def pairs_table(measured, pairs):
    lines = [row("ratio of CPU time", *(f"{a} / {b}" for a, b in pairs)), "|---" * (len(pairs) + 1) + "|"]
    for cell, rounds in measured.items():
        lines.append(row(cell, *(ratio(rounds, a, [b]) for a, b in pairs)))
    return "\n".join(lines)


def ratio_table(measured):
    names = list(next(iter(measured.values())))
    for only, pairs in PAIRS.items():
        if only in names:
            return pairs_table(measured, [(a, b) for a, b in pairs if a in names and b in names])
    peers = [name for name in names if name not in [*HERE, PREFIX_PLUGIN, NGINX]]
    plugin = PREFIX_PLUGIN if PREFIX_PLUGIN in names else PLUGIN
    others = {"best other router": peers, "nginx": [NGINX], "least_load": [LEAST_LOAD], "round_robin": [ROUND_ROBIN]}
    lines = [row("ratio of CPU time", *(f"plugin / {other}" for other in others)), "|---" * (len(others) + 1) + "|"]
    for cell, rounds in measured.items():
        lines.append(row(cell, *(ratio(rounds, plugin, other) for other in others.values())))
    return "\n".join(lines)


def latency_table(latencies):
    quantiles = ["p50", "p99", "p999"]
    lines = [row("", "p50, ms", "p99, ms", "p99.9, ms", "CPU µs a request"), "|---" * 5 + "|"]
    for name, rounds in latencies.items():
        cells = (f"{statistics.median(one[key] for one in rounds):.2f}" for key in quantiles)
        cpu = statistics.median(one["cpu_us"] for one in rounds)
        lines.append(row(name, *cells, f"{cpu:.1f}"))
    return "\n".join(lines)


def settings_text(settings):
    versions = ", ".join(f"{name} {version}" for name, version in settings["versions"].items())
    threads = ", ".join(f"{name} {count}" for name, count in settings["threads_seen"].items())
    return (
        f"{versions}. {settings['workers']} simulated workers that answer at once with 8 tokens, "
        f"{settings['threads']} threads for requests in each router (threads altogether: {threads}), "
        f"{settings['rounds']} rounds of {settings['requests']} requests a cell, routers in turn."
    )


def page(result):
    rate = result["settings"]["rate"]
    parts = [
        settings_text(result["settings"]),
        cpu_table(result["cpu_us"]),
        ratio_table(result["cpu_us"]),
    ]
    if not result["latency_ms"]:
        return "\n\n".join(parts)
    parts += [
        f"Latency at {rate} requests a second (plain, 200 B, Poisson arrivals, open loop):",
        latency_table(result["latency_ms"]),
    ]
    return "\n\n".join(parts)

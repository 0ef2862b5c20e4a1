"""Writes what scripts/bench.sh measured: tables between markers of a page, and a plot.

usage: bench_report.py WORK PAGE PLOT
"""

import json
import math
import pathlib
import platform
import re
import statistics
import subprocess
import sys

SIZES = [2, 8, 64, 1000, 10_000]
FORMS = {
    "floor-sync": "floor, plain call",
    "sync": "plugin, sync",
    "floor-async": "floor, call_async",
    "async-adaptive": "plugin, async adaptive",
    "async-fiber": "plugin, async fiber",
    "native": "native least_load, sync",
}
COLOURS = ["#999999", "#1b6ca8", "#bbbbbb", "#2a9d5c", "#d1495b", "#e09f3e"]


def medians(work):
    """Nanoseconds by form and size: the median over the rounds of criterion's median."""
    found = {}
    for form in FORMS:
        for size in SIZES:
            files = sorted(work.glob(f"round*/decision/{form}/w{size}/new/estimates.json"))
            values = [json.loads(file.read_text())["median"]["point_estimate"] for file in files]
            if values:
                found[form, size] = (statistics.median(values), min(values), max(values))
    return found


def time(ns):
    return f"{ns:.0f} ns" if ns < 1000 else f"{ns / 1000:.2f} µs"


def table(found):
    lines = ["| workers | " + " | ".join(FORMS.values()) + " |", "|---" * (len(FORMS) + 1) + "|"]
    for size in SIZES:
        cells = []
        for form in FORMS:
            middle, low, high = found[form, size]
            cells.append(f"{time(middle)} ({time(low)} to {time(high)})")
        lines.append(f"| {size:,} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def ratios(found):
    pairs = [
        ("sync / floor", "sync", "floor-sync"),
        ("async fiber / floor", "async-fiber", "floor-async"),
        ("async adaptive / floor", "async-adaptive", "floor-async"),
        ("sync / native", "sync", "native"),
    ]
    lines = ["| workers | " + " | ".join(name for name, _, _ in pairs) + " |", "|---" * (len(pairs) + 1) + "|"]
    for size in SIZES:
        cells = [f"{found[over, size][0] / found[under, size][0]:.2f}" for _, over, under in pairs]
        lines.append(f"| {size:,} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def parts(work):
    """Medians of the other groups, one line an operation, sizes side by side."""
    lines = ["| group | operation | times |", "|---|---|---|"]
    for group in ["wire", "pool", "instantiate"]:
        rows = {}
        for file in (work / "parts" / group).rglob("new/benchmark.json"):
            about = json.loads(file.read_text())
            ns = json.loads((file.parent / "estimates.json").read_text())["median"]["point_estimate"]
            operation, size = about["function_id"] or "", about["value_str"] or ""
            rows.setdefault(operation, []).append((number_in(size), size, ns))
        for operation, cells in sorted(rows.items()):
            shown = ", ".join(f"{size} {time(ns)}".strip() for _, size, ns in sorted(cells))
            lines.append(f"| {group} | {operation} | {shown} |")
    return "\n".join(lines)


RUNS = {
    "threads": "One thread and two, each deciding as fast as it can",
    "neighbour": "Beside a thread that is busy by itself, and beside a plugin that spins to its budget all the time",
    "isolation": "`isolation = \"fresh\"`: processor time with all that is done in the background, and what the caller waits",
    "swap": "Two swaps a second that compile",
    "footprint": "Loads, and the memory of an instance",
}


def runs(work):
    texts = [f"{title}:\n\n```text\n{(work / name).read_text().strip()}\n```" for name, title in RUNS.items()]
    return "\n\n".join(texts)


def number_in(size):
    digits = re.sub(r"\D", "", size)
    return int(digits) if digits else 0


def plot(found):
    """Lines over both axes in powers of ten."""
    width, height, left, bottom, top = 720, 420, 70, 370, 20
    x_of = lambda size: left + math.log10(size) / 4 * (width - left - 190)
    y_of = lambda ns: bottom - (math.log10(ns) - 1) / 4 * (bottom - top)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
    ]
    for power, label in enumerate(["10 ns", "100 ns", "1 µs", "10 µs", "100 µs"], 1):
        y = y_of(10**power)
        parts.append(f'<line x1="{left}" x2="{width - 190}" y1="{y:.1f}" y2="{y:.1f}" stroke="#dddddd"/>')
        parts.append(f'<text x="{left - 8}" y="{y + 4:.1f}" text-anchor="end">{label}</text>')
    for size in SIZES:
        x = x_of(size)
        parts.append(f'<text x="{x:.1f}" y="{bottom + 18}" text-anchor="middle">{size:,}</text>')
    parts.append(f'<text x="{(left + width - 190) / 2}" y="{height - 10}" text-anchor="middle">workers</text>')
    ends = []
    for (form, name), colour in zip(FORMS.items(), COLOURS):
        points = [(x_of(size), y_of(found[form, size][0])) for size in SIZES]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        ends.append([points[-1][1], name, colour, points[-1][0]])
    # Names at the ends of their lines, moved apart.
    ends.sort()
    for above, below in zip(ends, ends[1:]):
        below[0] = max(below[0], above[0] + 15)
    for y, name, colour, x in ends:
        parts.append(f'<text x="{x + 8:.1f}" y="{y + 4:.1f}" fill="{colour}">{name}</text>')
    return "\n".join(parts + ["</svg>", ""])


def machine():
    model = re.search(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text())
    cores = len(re.findall(r"^processor", pathlib.Path("/proc/cpuinfo").read_text(), re.M))
    return f"{cores} cores of {model.group(1) if model else platform.machine()}, {platform.system()}"


def output(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def main():
    work, page, picture = map(pathlib.Path, sys.argv[1:])
    found = medians(work)
    rounds = len(list(work.glob("round*")))
    commit = output("git", "rev-parse", "--short", "HEAD")
    text = f"""Commit {commit} ({output("git", "log", "-1", "--format=%cs")}), {machine()}, {output("rustc", "--version")}. `scripts/bench.sh {rounds}`: medians of {rounds} rounds, the lowest and the highest in brackets.

![Decision times over the number of workers, for plugin, floor and native policy](img/decision.svg)

{table(found)}

Ratios of the medians:

{ratios(found)}

The parts (`cargo bench --bench micro`): writing a message and reading an answer, a pool of four instances, making an instance. `per-call` is a decision by an instance of its own, over eight workers, with wasmtime alone; `contended` holds each instance over one turn of an asynchronous runtime on two threads.

{parts(work)}

Comparisons (`cargo bench --bench runs`): kinds of rounds alternate in one run; medians over the rounds.

{runs(work)}"""
    whole = page.read_text()
    begin, end = "<!-- measured -->", "<!-- end -->"
    before, rest = whole.split(begin, 1)
    after = rest.split(end, 1)[1]
    page.write_text(f"{before}{begin}\n{text}\n{end}{after}")
    picture.write_text(plot(found))


main()

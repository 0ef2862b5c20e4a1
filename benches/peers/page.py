"""Writes what was measured between the markers of a page.

usage: page.py PAGE [peers FILE] [routers FILE] [operations FILE]
"""

import json
import pathlib
import platform
import re
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).with_name("routers")))

import report


def output(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def origin():
    """Of which commit, on which machine."""
    processors = pathlib.Path("/proc/cpuinfo").read_text()
    model = re.search(r"model name\s*: (.*)", processors)
    cores = len(re.findall(r"^processor", processors, re.M))
    commit = output("git", "rev-parse", "--short", "HEAD")
    day = output("git", "log", "-1", "--format=%cs")
    return f"Commit {commit} ({day}), {cores} cores of {model.group(1) if model else platform.machine()}."


def time(ns):
    return f"{ns:.0f} ns" if ns < 1000 else f"{ns / 1000:.2f} µs"


def peers(result):
    sizes = result["sizes"]
    heads = [f"{size['workers']:,} workers" for size in sizes]
    lines = [report.row("", *(f"{head} | times sync | times fiber" for head in heads))]
    lines.append("|---" * (1 + 3 * len(sizes)) + "|")
    for rows in zip(*(size["shapes"] for size in sizes)):
        cells = (f"{time(row['median_ns'])} | {row['to_sync']:.1f} | {row['to_fiber']:.1f}" for row in rows)
        lines.append(report.row(rows[0]["name"], *cells))
    rounds = len(sizes[0]["shapes"][0]["rounds_ns"])
    about = f"{origin()} {output('rustc', '--version')}, Extism {result['extism']}. Medians of {rounds} rounds in which all take turns; ratios are medians of the ratios within a round."
    return about + "\n\n" + "\n".join(lines)


def routers(result):
    return f"{origin()} {report.page(result)}"


# Name of the marker, and what it is filled by.
BLOCKS = {"peers": peers, "routers": routers, "operations": routers}


def fill(text, name, block):
    begin, end = f"<!-- {name} -->", f"<!-- end {name} -->"
    before, found, rest = text.partition(begin)
    _, found_end, after = rest.partition(end)
    if not found or not found_end:
        sys.exit(f"error: the page has no {begin} … {end}")
    return f"{before}{begin}\n{block}\n{end}{after}"


def main():
    page = pathlib.Path(sys.argv[1])
    text = page.read_text()
    for name, file in zip(sys.argv[2::2], sys.argv[3::2]):
        text = fill(text, name, BLOCKS[name](json.loads(pathlib.Path(file).read_text())))
    page.write_text(text)


main()

"""Tests of deploy/ and of docs/quickstart.md: the image, the manifests, the service, dashboard and alerts and
the Python package, with the programs that read them.

usage: run.py SGL_ROUTER_BINARY [PART...]     PART: unit, cluster, container,
monitoring, wheel, quickstart; default: all

Prints a line for each check, then the count of those that passed and failed; exits with 1 if one failed.
Leaves no process running, whatever happens.
"""

import importlib
import os
import pathlib
import signal
import sys
import tempfile
import time
import traceback
from contextlib import ExitStack

from parts import Skipped

PARTS = ["unit", "cluster", "container", "monitoring", "wheel", "quickstart"]


def run_part(part, binary, directory):
    """Runs all methods named check_… of a part, in the order of its file; counts outcomes."""
    counts = {"ok": 0, "FAILED": 0, "SKIPPED": 0}

    def one(title, action):
        began = time.monotonic()
        outcome, value, detail = "ok", None, ""
        try:
            value = action()
        except Skipped as reason:
            outcome, detail = "SKIPPED", f": {reason}"
        except Exception:
            outcome = "FAILED"
            traceback.print_exc(file=sys.stdout)
        if title:
            counts[outcome] += 1
        if title or outcome != "ok":
            print(f"{outcome:8} {part}: {title or 'setup'}{detail} ({time.monotonic() - began:.1f} s)", flush=True)
        return value, outcome

    module = importlib.import_module(part)
    with ExitStack() as stack:
        checks, outcome = one("", lambda: module.Checks(stack, binary, directory))
        if outcome != "ok":
            return {"ok": 0, "FAILED": int(outcome == "FAILED"), "SKIPPED": int(outcome == "SKIPPED")}
        for name in [name for name in vars(module.Checks) if name.startswith("check_")]:
            one(name.removeprefix("check_").replace("_", " "), getattr(checks, name))
    return counts


def main():
    if len(sys.argv) < 2 or not set(sys.argv[2:]) <= set(PARTS):
        sys.exit(__doc__)
    # A signal ends this like an error does: with all processes stopped.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(1))
    binary = os.path.abspath(sys.argv[1])
    totals = {"ok": 0, "FAILED": 0, "SKIPPED": 0}
    for part in sys.argv[2:] or PARTS:
        with tempfile.TemporaryDirectory() as directory:
            for outcome, count in run_part(part, binary, pathlib.Path(directory)).items():
                totals[outcome] += count
    skipped = f", {totals['SKIPPED']} SKIPPED (see above)" if totals["SKIPPED"] else ""
    print(f"{totals['ok']} passed, {totals['FAILED']} failed{skipped}")
    sys.exit(1 if totals["FAILED"] or not totals["ok"] else 0)


main()

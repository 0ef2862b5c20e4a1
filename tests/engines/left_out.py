"""What an engine says and its simulation leaves out, held against a list of what it leaves out on purpose.

The lists are left_out/ENGINE.txt, of the versions that setup.sh installs: a line each, `#` begins a reason.

    METHOD /path /field/of[]/the/answer
    metric NAME
    label NAME{LABEL}
    event TYPE
    event TYPE /field

A line that ends with `*` stands for all that begin so.
"""

import functools
import os

HERE = os.path.dirname(os.path.abspath(__file__))


@functools.cache
def left_out(engine):
    """The lines of an engine's list."""
    with open(os.path.join(HERE, "left_out", f"{engine}.txt")) as file:
        lines = [line.partition("#")[0].strip() for line in file]
    return [line for line in lines if line]


def is_left_out(engine, name):
    return any(name.startswith(line[:-1]) if line.endswith("*") else name == line for line in left_out(engine))


def unnamed(engine, names):
    """Those of these that the list does not name, as failures that say what to do."""
    return [
        f"{engine} has `{name}`, and its simulation has not: teach it to sim-worker (crates/tools) if a router can use "
        f"it, or add that line to tests/engines/left_out/{engine}.txt with the reason"
        for name in sorted(set(names)) if not is_left_out(engine, name)
    ]


def missing(simulated, real, path=""):
    """The fields of the second that the first has not. What the first says is null may be anything."""
    if isinstance(simulated, list) and isinstance(real, list):
        return missing(simulated[0], real[0], f"{path}[]")
    if not isinstance(simulated, dict) or not isinstance(real, dict):
        return []
    found = []
    for key, inner in real.items():
        found += missing(simulated[key], inner, f"{path}/{key}") if key in simulated else [f"{path}/{key}"]
    return found

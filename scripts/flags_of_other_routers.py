#!/usr/bin/env python3
"""Prints the flags of an installed sglang-router or vllm-router, as its own parser has them:
name, default and choices, with tabs between. `docs/migration.md` is held to them.

    pip install sglang-router==0.3.2
    scripts/flags_of_other_routers.py sglang_router > crates/router/tests/fixtures/other_routers/sglang_router.tsv
    pip install vllm-router==0.1.17
    scripts/flags_of_other_routers.py vllm_router > crates/router/tests/fixtures/other_routers/vllm_router.tsv
"""

import argparse
import importlib
import os
import sys

# Some defaults come from the environment.
for name in list(os.environ):
    if name.startswith(("ATP_", "POSTGRES_", "REDIS_")):
        del os.environ[name]

arguments = importlib.import_module(f"{sys.argv[1]}.router_args").RouterArgs
parser = argparse.ArgumentParser(add_help=False)
arguments.add_cli_args(parser)
for action in parser._actions:
    default = "" if action.default in (None, [], {}, False) else action.default
    print(*action.option_strings, default, " ".join(action.choices or []), sep="\t")

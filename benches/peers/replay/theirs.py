"""One replay of Dynamo's, run by the Python that has it: prints its summary as JSON.

usage: theirs.py TRACE ENGINE_ARGS.json WORKERS MODE
"""

import json
import sys

from dynamo._core import run_mocker_trace_replay

trace, engine_args, workers, mode = sys.argv[1:]
with open(engine_args) as file:
    engine_args = json.load(file)
result = run_mocker_trace_replay(
    [trace],
    extra_engine_args=engine_args,
    num_workers=int(workers),
    router_mode=mode,
    trace_block_size=512,
    capture_planner_details=False,
)
print(json.dumps(result.summary))

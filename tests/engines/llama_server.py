"""llama.cpp's own HTTP server, from the PyPI wheel `xllamacpp`.

usage: llama_server.py MODEL.gguf SLOTS CONTEXT [PORT]

Prints the address that it listens on and serves until it is killed.
"""

import sys
import time

import xllamacpp

parameters = xllamacpp.CommonParams()
parameters.model.path = sys.argv[1]
parameters.n_parallel = int(sys.argv[2])
parameters.n_ctx = int(sys.argv[3]) * parameters.n_parallel
parameters.hostnames = ["127.0.0.1"]
parameters.port = int(sys.argv[4]) if len(sys.argv) > 4 else 0
parameters.endpoint_metrics = True
parameters.cpuparams.n_threads = 1
server = xllamacpp.Server(parameters)
print("listening on", server.listening_address, flush=True)
while True:
    time.sleep(60)

"""A trace of the runs: a part of a published one, made shorter, spread over time, and unlike that of any other run."""

import json
import random

# Tokens that one of the `hash_ids` of Mooncake's traces stands for, and the step of its stamps in milliseconds.
BLOCK_TOKENS = 512
STEP_MS = 3000
# Runs have ids of their own, so that none finds in a cache what another has left there.
IDS_OF_A_RUN = 1_000_000


def read(file, longest):
    """The requests of a trace, without those whose prompts are longer than this."""
    requests = [json.loads(line) for line in file if line.strip()]
    return [one for one in requests if one["input_length"] <= longest]


def write(path, requests, run, seed, shrink, output_shrink):
    """Requests with prompts and answers that are so many times shorter. Those with the same stamp are spread by chance
    over its step, by this seed; the tokens of a block shrink with the prompts."""
    draw = random.Random(seed)
    stamped = sorted((one["timestamp"] + draw.random() * STEP_MS, number) for number, one in enumerate(requests))
    with open(path, "w") as file:
        for at, number in stamped:
            one = requests[number]
            file.write(json.dumps({
                "timestamp": at,
                "input_length": max(1, one["input_length"] // shrink),
                "output_length": max(1, round(one["output_length"] / output_shrink)),
                "hash_ids": [run * IDS_OF_A_RUN + block for block in one["hash_ids"]],
            }) + "\n")


def part(requests, seconds, begin=0):
    """Those that come in so many seconds of the trace, from a second on."""
    return [one for one in requests if begin <= one["timestamp"] / 1000 < begin + seconds]


def conversations(requests, share):
    """Those of this share of the conversations, so that a longer time of the trace fits into a run. What requests of one
    have in common is their second block: the first one is that of a system prompt, which many have."""
    def kept(one):
        ids = one["hash_ids"]
        return random.Random(ids[min(1, len(ids) - 1)] if ids else 0).random() < share
    return [one for one in requests if kept(one)]

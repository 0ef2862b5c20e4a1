"""Subscribes with libzmq to what a worker publishes, sends it some requests, asks for missed batches, and
prints what came as JSON.

usage: kv_probe.py URL ENDPOINT REPLAY_ENDPOINT [LOAD_ENDPOINT]
"""

import itertools
import json
import sys
import time
import urllib.request

import zmq

try:
    from msgspec.msgpack import decode
except ImportError:
    from msgpack import unpackb as decode

url, endpoint, replay_endpoint, *load_endpoint = sys.argv[1:]
context = zmq.Context()


def subscriber(address, topic):
    socket = context.socket(zmq.SUB)
    socket.setsockopt(zmq.SUBSCRIBE, topic)
    socket.connect(address)
    return socket


def complete(first):
    # Blocks of vLLM on a CPU have 128 tokens; the model knows some two thousand.
    prompt = [100 + (first + number) % 1800 for number in range(400)]
    body = {"model": "tiny", "prompt": prompt, "max_tokens": 2}
    headers = {"content-type": "application/json"}
    request = urllib.request.Request(f"{url}/v1/completions", json.dumps(body).encode(), headers)
    urllib.request.urlopen(request, timeout=60).read()


def forms(frames):
    """Lengths of what has a fixed one; else whether there is anything."""
    return [len(frame) if len(frame) in (0, 4, 8) else "some" for frame in frames]


def received(socket, act):
    """Messages until one has come that was sent after the subscription had arrived."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        act()
        if socket.poll(300):
            return socket.recv_multipart()
    raise TimeoutError(f"nothing was published at {endpoint}")


ids = itertools.count(0, 7)
frames = received(subscriber(endpoint, b""), lambda: complete(next(ids)))
asker = context.socket(zmq.DEALER)
asker.connect(replay_endpoint)
asker.send_multipart([b"", (0).to_bytes(8, "big")])
answers = []
while not answers or answers[-1][2] != b"\xff" * 8:
    assert asker.poll(10_000), "an answer to who asks for missed batches"
    answers.append(asker.recv_multipart())
batches = [decode(answer[3]) for answer in answers[:-1]]
numbers = [int.from_bytes(answer[2], "big") for answer in answers[:-1]]
assert numbers == list(range(numbers[0], numbers[0] + len(numbers))), numbers
load, load_frames = [], []
if load_endpoint:
    message = received(subscriber(load_endpoint[0], b"load"), lambda: complete(next(ids)))
    load, load_frames = decode(message[2]), forms(message)
print(json.dumps({
    "frames": forms(frames),
    "replayed_frames": forms(answers[0]),
    "last_frames": forms(answers[-1]),
    "load_frames": load_frames,
    "batch": decode(frames[2]),
    "events": [event for batch in batches for event in batch[1]],
    "load": load,
}))
context.destroy(linger=0)

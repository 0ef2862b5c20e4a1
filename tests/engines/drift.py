"""Compares what a simulated worker says with what the engine says whose dialect it speaks.

What the simulation says must be what the engine says too: no key, metric or label that the engine does not
have, no value of another type, and the same status. What it leaves out of what the engine says must be in the
list of left_out.py: a field that a new version of an engine has is a failure.
"""

import json
import os
import subprocess

from harness import CHAT, all_at_once, ask, chat, connect, start, wait_for
from left_out import missing, unnamed

HERE = os.path.dirname(os.path.abspath(__file__))
# Of the simulation alone, and documented so.
OWN_KEYS = {"system_fingerprint", "sim"}


class Simulated:
    """A simulated worker that speaks like an engine."""

    def __init__(self, stack, binary, directory, engine, *flags):
        path = os.path.join(directory, f"simulated-{engine}-{id(self)}.log")
        log = stack.enter_context(open(path, "w"))
        pace = [] if "--time-scale" in flags else ["--time-scale", "0.02"]
        command = [binary, "sim-worker", "--engine", engine, "--model", "tiny", *pace, *flags]
        self.process = start(stack, command, log)

        def address():
            assert self.process.poll() is None, open(path).read()
            lines = [line for line in open(path) if line.startswith("listening on ") and line.endswith("\n")]
            return lines[0].split()[-1] if lines else None

        self.url = wait_for("the simulated worker's start", address)

    def signal(self, number):
        self.process.send_signal(number)

    def is_running(self):
        return self.process.poll() is None


def advertised(engine, url):
    """Where a worker publishes, real or not: events, missed ones, and loads if it pushes them."""
    if engine == "vllm":
        source = json.loads(ask(url, "GET", "/kv_event_sources").body)["0"]
        return [source[name].replace("*", "127.0.0.1") for name in ("endpoint", "replay_endpoint")]
    described = json.loads(ask(url, "GET", "/server_info").body)["kv_events"]
    names = ("endpoint_port_base", "replay_endpoint_port_base", "load_endpoint_port_base")
    return [f"tcp://127.0.0.1:{described[name]}" for name in names if name in described]


# --- shapes --------------------------------------------------------------------------------


def shape(value):
    """Keys and types. Elements of a list count as one."""
    if isinstance(value, dict):
        return {key: shape(inner) for key, inner in value.items()}
    if isinstance(value, list):
        union = None
        for element in value:
            union = merged(union, shape(element))
        return [union]
    if isinstance(value, bool) or value is None:
        return None if value is None else "bool"
    return "number" if isinstance(value, (int, float)) else "string"


def merged(one, other):
    """What either of two has."""
    if one is None or other is None:
        return other if one is None else one
    if isinstance(one, dict) and isinstance(other, dict):
        return {key: merged(one.get(key), other.get(key)) for key in {**one, **other}}
    if isinstance(one, list) and isinstance(other, list):
        return [merged(one[0], other[0])]
    return one


def differences(simulated, real, path=""):
    """What the first has and the second has not. Null may stand for anything, or for nothing."""
    if simulated is None or simulated == real:
        return []
    if isinstance(simulated, dict) and isinstance(real, dict):
        found = []
        for key, inner in simulated.items():
            if key in OWN_KEYS or inner is None:
                continue
            if key not in real:
                found.append(f"{path}/{key} is not the engine's")
            else:
                found += differences(inner, real[key], f"{path}/{key}")
        return found
    if isinstance(simulated, list) and isinstance(real, list):
        return differences(simulated[0], real[0], f"{path}[]") if real[0] is not None else []
    return [] if real is None else [f"{path} is {simulated}, and the engine's {real}"]


def content(answer):
    """The shape of a body: of all events of a stream together, of JSON, or that it is neither."""
    kind = (dict((key.lower(), value) for key, value in answer.headers).get("content-type") or "").split(";")[0]
    if kind == "text/event-stream":
        events = answer.events()
        assert events[-1:] == ["[DONE]"], answer
        union = None
        for event in events[:-1]:
            union = merged(union, shape(json.loads(event)))
        return kind, union
    return kind, shape(json.loads(answer.body)) if kind == "application/json" else None


def compare(real, simulated, requests):
    """Sends the same requests to both; what differs."""
    found = []
    for method, path, body in requests:
        streamed = isinstance(body, dict) and body.get("stream")
        others = [ask(real.url, method, path, body) for _ in range(STREAMS if streamed else 1)]
        what = f" {path} {str(body)[:60]}" if body else f" {path}"
        found += compare_answers(real.kind, f"{method} {path.partition('?')[0]}", ask(simulated.url, method, path, body), *others, what=what)
    return found


def compare_answers(engine, place, simulated, real, *more, what=""):
    """What differs between an answer and what the engine's answers have together. `place` is the method and the
    path, as the list of what is left out has them."""
    title = place + what
    if simulated.status != real.status:
        return [f"{title}: {simulated.status}, and the engine {real.status}: {simulated} {real}"]
    (kind, ours), (other_kind, others) = content(simulated), content(real)
    for answer in more:
        others = merged(others, content(answer)[1])
    if kind != other_kind:
        return [f"{title}: {kind}, and the engine {other_kind}"]
    found = [f"{title}: {difference}" for difference in differences(ours, others)]
    return found + unnamed(engine, [f"{place} {field}" for field in missing(ours, others)])


def families(text):
    """Type and names of labels of each metric by its name; those of a histogram's samples too."""
    kinds, labels = {}, {}
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ", 3)
            kinds[name] = kind
        elif line and not line.startswith("#"):
            name, _, rest = line.rpartition(" ")[0].partition("{")
            inner = rest.rpartition("}")[0]
            keys = {part.split("=")[0] for part in inner.replace('",', '"\n').split("\n") if part}
            labels.setdefault(name, set()).update(keys)
    return kinds, labels


def compare_metrics(real, simulated):
    (kinds, labels), (real_kinds, real_labels) = [
        families(ask(one.url, "GET", "/metrics").body.decode()) for one in (simulated, real)
    ]
    assert kinds and labels, "there are metrics"
    found = []
    for name, kind in kinds.items():
        if real_kinds.get(name) != kind:
            found.append(f"metric {name} is a {kind}, and the engine's {real_kinds.get(name)}")
    for name, keys in labels.items():
        # `le` of buckets that a scrape of the engine does not have yet.
        extra = keys - real_labels.get(name, set())
        if name not in real_labels or extra:
            found.append(f"metric {name}: labels {sorted(extra)} are not the engine's {sorted(real_labels.get(name, []))}")
    names = [f"metric {name}" for name in real_kinds if name not in kinds]
    for name, keys in real_labels.items():
        names += [f"label {name}{{{key}}}" for key in keys - labels.get(name, keys)]
    return found + unnamed(real.kind, names)


# --- requests ------------------------------------------------------------------------------

USAGE = {"stream_options": {"include_usage": True}}
STREAMED = {"tokens": 60, "stream": True, "ignore_eos": True}
# A model of random weights makes half characters, and llama.cpp leaves out the first event of a stream, with
# the role, whose first character is one: that is two of five. So many of a stream's kind say all there is.
STREAMS = 20
GENERATIONS = [
    ("POST", CHAT, chat()),
    ("POST", CHAT, chat(**STREAMED, **USAGE)),
    ("POST", CHAT, chat(**STREAMED)),
    ("POST", "/v1/completions", {"model": "tiny", "prompt": "One two three", "max_tokens": 4}),
    ("POST", "/v1/completions", {"model": "tiny", "prompt": [1, 2, 3], "max_tokens": 4}),
    ("POST", "/v1/completions", {"model": "tiny", "prompt": "One", "max_tokens": 60, "stream": True, "ignore_eos": True, **USAGE}),
    ("POST", CHAT, b'{"mess'),
    ("GET", "/nothing", None),
    ("GET", CHAT, None),
]
REPORTS = {
    "llamacpp": ["/health", "/v1/health", "/props", "/slots", "/v1/models", "/models"],
    "vllm": ["/health", "/ping", "/version", "/load", "/v1/models", "/kv_event_sources"],
    "sglang": ["/health", "/ready", "/v1/models", "/model_info", "/get_model_info", "/server_info",
               "/v1/loads", "/v1/loads?include=core", "/v1/loads?include=queues", "/v1/loads?dp_rank=0"],
}
# What only other engines have: how a router tells them apart.
ABSENT = {
    "llamacpp": ["/version", "/server_info", "/v1/loads", "/load"],
    "vllm": ["/server_info", "/v1/loads", "/props", "/slots", "/get_load"],
    "sglang": ["/version", "/props", "/slots", "/load", "/kv_event_sources", "/get_load"],
}


def compare_engine(engine, real, simulated):
    """All that needs no particular state; what differs."""
    requests = list(GENERATIONS)
    if engine == "sglang":
        requests += [("POST", "/generate", {"text": "One", "sampling_params": {"max_new_tokens": 4}, "stream": stream})
                     for stream in (False, True)]
    requests += [("GET", path, None) for path in REPORTS[engine] + ABSENT[engine]]
    found = compare(real, simulated, requests) + compare_metrics(real, simulated)
    owners = [json.loads(ask(one.url, "GET", "/v1/models").body)["data"][0]["owned_by"] for one in (simulated, real)]
    if owners[0] != owners[1]:
        found.append(f"owned_by is {owners[0]}, and the engine's {owners[1]}")
    return found


def while_busy(one, count, tokens, work):
    """`work` while so many streams of an engine run or wait, which are left then."""
    opened = []
    for number in range(count):
        connection = connect(one.url)
        body = json.dumps(chat(f"busy {number}", tokens, True, ignore_eos=True))
        connection.request("POST", CHAT, body, {"content-type": "application/json"})
        opened.append(connection)
    try:
        return work()
    finally:
        for connection in opened:
            connection.close()


def refusals(one, tokens):
    """How a full engine answers a plain request, a stream, and streams that come at a time."""

    def work():
        wait_for("a full engine", lambda: is_refusal(ask(one.url, "POST", CHAT, chat())))
        return [ask(one.url, "POST", CHAT, chat(stream=stream)) for stream in (False, True)]

    answers, events = while_busy(one, 3, tokens, work), []
    for _ in range(5):
        wait_for("an idle engine", lambda: ask(one.url, "POST", CHAT, chat()).status == 200)
        burst = all_at_once(30, lambda n: ask(one.url, "POST", CHAT, chat(f"burst {n}", 40, True, ignore_eos=True)))
        events += [answer for answer in burst if answer.status == 200 and is_refusal(answer)]
        if events:
            break
    return answers, events


def is_refusal(answer):
    return answer.status == 503 or b'"error"' in answer.body


def compare_refusals(real, simulated, tokens):
    (ours, our_events), (others, other_events) = refusals(simulated, 3000), refusals(real, tokens)
    found = []
    for stream, (one, other) in zip((False, True), zip(ours, others)):
        found += compare_answers(real.kind, f"POST {CHAT}", one, other, what=f" refused, stream {stream}")
    # Whether a burst meets both looks of vLLM is chance; the form of what comes is not.
    if our_events and other_events:
        found += compare_answers(real.kind, f"POST {CHAT}", our_events[0], other_events[0], what=" refused in a burst")
    return found, len(our_events), len(other_events)


# --- events --------------------------------------------------------------------------------


def published(python, url, endpoint, replay, load=None):
    """What a worker publishes while it gets some requests, as libzmq receives it."""
    command = [python, os.path.join(HERE, "kv_probe.py"), url, endpoint, replay, *([load] if load else [])]
    done = subprocess.run(command, timeout=120, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


def compare_published(engine, ours, others):
    """Frames, batches, events by their type, and loads; what differs."""
    found = []
    for key in ("frames", "replayed_frames", "last_frames", "load_frames"):
        if ours[key] != others[key]:
            found.append(f"{key} are {ours[key]}, and the engine's {others[key]}")
    kinds, other_kinds = by_kind(ours), by_kind(others)
    # A type that the engine did not publish this time is no difference: whether something was removed is chance.
    found += unnamed(engine, [f"event {kind}" for kind in other_kinds if kind not in kinds])
    for kind in kinds.keys() & other_kinds.keys():
        one, other = shape(kinds[kind]), shape(other_kinds[kind])
        found += [f"{kind}: {line}" for line in differences(one, other)]
        found += unnamed(engine, [f"event {kind} {field.removeprefix('[]')}" for field in missing(one, other)])
    if shape(ours["batch"][0]) != shape(others["batch"][0]) or len(ours["batch"]) != len(others["batch"]):
        found.append(f"a batch is {ours['batch']}, and the engine's {others['batch']}")
    if [type(field).__name__ for field in ours["load"]] != [type(field).__name__ for field in others["load"]]:
        found.append(f"a load is {ours['load']}, and the engine's {others['load']}")
    return found


def by_kind(published):
    kinds = {}
    for event in published["events"]:
        kinds.setdefault(event["type"], []).append(event)
    assert "BlockStored" in kinds, published
    return kinds

"""End-to-end test with the `openai` package, a client that nobody here wrote.

usage: run.py SGL_ROUTER_BINARY PLUGIN_WASM

Does all of it twice: over plain HTTP/1.1, and over TLS and HTTP/2. Starts three simulated workers and the
router with the plugin prefix_affinity as its policy, all on free ports, and talks to the router as any user
of the package would. Prints a line for each check, then the count of those that passed and failed; exits
with 1 if one failed. Leaves no process running, whatever happens.
"""

import asyncio
import json
import math
import os
import pathlib
import signal
import ssl
import subprocess
import sys
import tempfile
import traceback
import urllib.error
import urllib.request
from contextlib import ExitStack

import openai

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from processes import LONGEST_WAIT_S, stop, wait_for  # noqa: E402

MODEL = "sim-model"
CERTIFICATE_SCRIPT = pathlib.Path(__file__).parents[2] / "scripts" / "make_certificate.sh"
WORKERS = 3

PLUGIN_CONFIG = """
policy = "prefix_affinity"
[[plugins]]
name = "prefix_affinity"
module_path = {module}
# A slow machine must fail no check.
max_execution_time_ms = 10000
"""


# --- processes -----------------------------------------------------------------------------


def start(stack, log, command):
    """Starts a process that ends with `stack`."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
    stack.callback(process.stdout.close)
    stack.callback(stop, process)
    return process


def get(url, trust=None):
    with urllib.request.urlopen(url, timeout=LONGEST_WAIT_S, context=trust) as answer:
        return answer.read().decode()


def is_ready(url, trust):
    try:
        get(url, trust)
        return True
    except (urllib.error.URLError, ConnectionError):
        return False


class Fleet:
    """Workers and router."""

    def __init__(self, stack, binary, module, directory, has_tls):
        self.log_path = os.path.join(directory, "router.log")
        self.workers = {}
        worker_log = stack.enter_context(open(os.path.join(directory, "workers.log"), "w"))
        for number in range(1, WORKERS + 1):
            name = f"worker-{number}"
            command = [binary, "sim-worker", "--worker-id", name, "--seed", str(number), "--model", MODEL]
            line = start(stack, worker_log, command).stdout.readline()
            self.workers[name] = line.removeprefix("listening on ").strip()
        config = os.path.join(directory, "router.toml")
        with open(config, "w") as file:
            file.write(PLUGIN_CONFIG.format(module=json.dumps(os.path.abspath(module))))
        command = [binary, "serve", "--config", config, "--log-format", "json"]
        command += ["--port", "0", "--prometheus-port", "0", "--admin-port", "0"]
        # Whom clients trust.
        self.trust = None
        if has_tls:
            subprocess.run([CERTIFICATE_SCRIPT, directory], check=True)
            authority, *pair = (f"{directory}/{name}" for name in ("authority.pem", "server.pem", "server.key"))
            command += ["--tls-cert-path", pair[0], "--tls-key-path", pair[1]]
            self.trust = ssl.create_default_context(cafile=authority)
        command += ["--worker-urls"]
        router_log = stack.enter_context(open(self.log_path, "w"))
        self.router = start(stack, router_log, command + list(self.workers.values()))
        addresses = wait_for("the router's start", self.addresses)
        self.url = f"{'https' if has_tls else 'http'}://{addresses['clients']}"
        self.metrics_url = f"http://{addresses['metrics']}"
        wait_for("readiness", lambda: is_ready(f"{self.url}/readiness", self.trust))
        wait_for("all workers' first health checks", lambda: self.healthy(addresses["admin"]) == WORKERS)

    def addresses(self):
        if self.router.poll() is not None:
            raise RuntimeError(f"the router ended with {self.router.returncode}:\n{self.log()}")
        for line in self.log().splitlines():
            fields = json.loads(line)["fields"]
            if "clients" in fields:
                return fields
        return None

    def healthy(self, admin):
        workers = json.loads(get(f"http://{admin}/workers"))["workers"]
        return sum(worker["healthy"] for worker in workers)

    def log(self):
        with open(self.log_path) as file:
            return file.read()

    def running(self, worker):
        """Requests that a worker has in hand."""
        return json.loads(get(f"{self.workers[worker]}/get_load"))[0]["num_reqs"]

    def metric(self, start):
        """The sum of the samples that begin like this."""
        lines = get(f"{self.metrics_url}/metrics").splitlines()
        values = [float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(start)]
        assert values, f"no metric begins with {start}"
        return sum(values)


# --- checks --------------------------------------------------------------------------------


class Checks:
    """Every method named check_… is a check; they run in the order of this file."""

    def __init__(self, fleet):
        self.fleet = fleet
        # No retries: what goes wrong once is to be seen.
        options = {"base_url": f"{fleet.url}/v1", "api_key": "unused", "max_retries": 0}
        options["timeout"] = LONGEST_WAIT_S
        self.versions = set()
        self.new_client = lambda: openai.OpenAI(**options, http_client=self.http(openai.DefaultHttpxClient))
        self.client = self.new_client()
        self.asynchronous = lambda: openai.AsyncOpenAI(
            **options, http_client=self.http(openai.DefaultAsyncHttpxClient))
        self.served_by = {name: 0 for name in fleet.workers}

    def http(self, client):
        """What requests go over; nothing special without TLS."""
        return client(http2=True, verify=self.fleet.trust) if self.fleet.trust else client()

    def saw(self, response):
        """Counts an answer for its worker, and gives what it holds."""
        worker = response.headers["x-sim-worker"]
        self.served_by[worker] += 1
        self.versions.add(response.http_response.http_version)
        return worker, response.parse()

    def chat(self, messages, **options):
        create = self.client.chat.completions.with_raw_response.create
        return self.saw(create(model=MODEL, messages=messages, **options))

    def check_chat(self):
        _, answer = self.chat(say("What is a router?"), max_tokens=16)
        choice = answer.choices[0]
        assert choice.message.role == "assistant" and choice.message.content.strip(), choice
        assert choice.finish_reason == "length", choice
        usage = answer.usage
        assert usage.completion_tokens == 16 and usage.prompt_tokens > 0, usage
        assert usage.total_tokens == usage.prompt_tokens + 16, usage

    def check_chat_streamed_with_usage(self):
        options = {"max_tokens": 12, "stream": True, "stream_options": {"include_usage": True}}
        _, stream = self.chat(say("Tell me a story."), **options)
        chunks = list(stream)
        words = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices]
        assert sum(1 for word in words if word) == 12, words
        reasons = [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices]
        assert reasons[-1] == "length" and not any(reasons[:-1]), reasons
        usages = [chunk.usage for chunk in chunks if chunk.usage]
        assert len(usages) == 1 and usages[0].completion_tokens == 12, usages

    def check_streamed_and_plain_answers_are_for_the_same_number_of_tokens(self):
        for tokens in (1, 5, 40):
            _, plain = self.chat(say(f"Say {tokens}."), max_tokens=tokens)
            _, stream = self.chat(say(f"Say {tokens}."), max_tokens=tokens, stream=True)
            pieces = [c.choices[0].delta.content for c in stream if c.choices and c.choices[0].delta.content]
            assert len(pieces) == plain.usage.completion_tokens == tokens, (tokens, pieces)

    def check_chunks_arrive_while_the_worker_still_works_and_hanging_up_stops_it(self):
        # Whole, this answer would take a quarter of an hour.
        others, self.client = self.client, self.new_client()
        worker, stream = self.chat(say("Never stop."), max_tokens=100_000, stream=True)
        chunks = iter(stream)
        for _ in range(5):
            next(chunks)
        assert self.fleet.running(worker) == 1, "the worker has not finished"
        stream.close()
        if self.fleet.trust:
            # What the package sends requests with resets no stream of HTTP/2 that is closed: the connection has to be.
            self.client.close()
        self.client = others
        wait_for("the end of the request", lambda: self.fleet.running(worker) == 0)

    def check_completions(self):
        create = self.client.completions.with_raw_response.create
        _, answer = self.saw(create(model=MODEL, prompt="Once upon a time", max_tokens=8))
        assert answer.choices[0].text.strip() and answer.usage.completion_tokens == 8, answer
        _, answer = self.saw(create(model=MODEL, prompt=["One", "Two", "Three"], max_tokens=2))
        assert [choice.index for choice in answer.choices] == [0, 1, 2], answer
        _, stream = self.saw(create(model=MODEL, prompt="Once", max_tokens=8, stream=True))
        pieces = [chunk.choices[0].text for chunk in stream if chunk.choices and chunk.choices[0].text]
        assert len(pieces) == 8, pieces

    def check_embeddings(self):
        # The package asks for base64 by itself, and for floats when told to.
        create = self.client.embeddings.with_raw_response.create
        _, answer = self.saw(create(model=MODEL, input=["a cat", "a dog", "a cat"]))
        vectors = [entry.embedding for entry in answer.data]
        assert len(vectors) == 3 and vectors[0] == vectors[2] != vectors[1]
        length = math.sqrt(sum(value * value for value in vectors[0]))
        assert abs(length - 1) < 1e-3, length
        _, floats = self.saw(create(model=MODEL, input="a cat", encoding_format="float"))
        pairs = zip(floats.data[0].embedding, vectors[0], strict=True)
        assert all(abs(one - other) < 1e-6 for one, other in pairs)

    def check_models(self):
        assert [model.id for model in self.client.models.list()] == [MODEL]

    def check_unknown_model_is_not_found(self):
        error = raised(openai.NotFoundError, lambda: self.client.chat.completions.create(
            model="no-such-model", messages=say("hi")))
        assert error.status_code == 404 and error.code == "model_not_found", error
        assert error.param == "model" and "no-such-model" in error.message, error

    def check_unknown_model_is_not_found_when_streamed(self):
        raised(openai.NotFoundError, lambda: self.client.chat.completions.create(
            model="no-such-model", messages=say("hi"), stream=True))

    def check_bad_parameter_is_a_bad_request(self):
        error = raised(openai.BadRequestError, lambda: self.chat(say("hi"), max_tokens=0))
        assert error.status_code == 400 and error.param == "max_tokens", error
        assert error.type == "invalid_request_error", error

    def check_endpoint_that_is_not_there_is_not_found(self):
        # The router itself answers this one.
        error = raised(openai.NotFoundError, lambda: self.client.images.generate(prompt="a cat"))
        assert error.code == "not_found" and "/v1/images/generations" in error.message, error

    def check_conversation_stays_with_its_worker(self):
        # Longer than the prefix that the policy looks at by default, 8 KiB.
        messages = say("You are a patient teacher. " * 400 + "Explain routers to me.")
        workers = set()
        for turn in range(6):
            worker, answer = self.chat(messages, max_tokens=8)
            workers.add(worker)
            messages += [answer.choices[0].message.model_dump(include={"role", "content"})]
            messages += say(f"Go on, turn {turn}.")
        assert len(workers) == 1, workers

    def check_sixty_requests_at_once(self):
        async def one(client, number):
            create = client.chat.completions.with_raw_response.create
            messages = say(f"Conversation {number}: how are you?")
            if number % 2:
                return self.saw(await create(model=MODEL, messages=messages, max_tokens=10))[1]
            response = await create(model=MODEL, messages=messages, max_tokens=10, stream=True)
            chunks = [chunk async for chunk in self.saw(response)[1]]
            return chunks[-1]

        async def all_at_once():
            async with self.asynchronous() as client:
                return await asyncio.gather(*(one(client, number) for number in range(60)))

        answers = asyncio.run(all_at_once())
        assert len(answers) == 60 and all(a.choices[0].finish_reason == "length" for a in answers)

    def check_all_workers_got_traffic(self):
        assert all(count > 0 for count in self.served_by.values()), self.served_by

    def check_plugin_made_all_decisions(self):
        plugin = '{plugin="prefix_affinity"'
        decisions = self.fleet.metric(f"sgl_router_plugin_decisions_total{plugin}")
        # Those whose answers were refused as wrong requests were decided too.
        assert decisions >= sum(self.served_by.values()), (decisions, self.served_by)
        assert self.fleet.metric(f"sgl_router_plugin_failures_total{plugin}") == 0
        assert self.fleet.metric(f"sgl_router_plugin_fallbacks_total{plugin}") == 0

    def check_all_answers_were_of_one_version_of_http(self):
        assert self.versions == {"HTTP/2" if self.fleet.trust else "HTTP/1.1"}, self.versions

    def check_router_ends_well(self):
        self.client.close()
        self.fleet.router.send_signal(signal.SIGTERM)
        assert self.fleet.router.wait(LONGEST_WAIT_S) == 0


def say(text):
    return [{"role": "user", "content": text}]


def raised(kind, call):
    try:
        call()
    except kind as error:
        return error
    raise AssertionError(f"no {kind.__name__} was raised")


# --- the run -------------------------------------------------------------------------------


def run(checks, fleet):
    passed = failed = 0
    for name in [name for name in vars(Checks) if name.startswith("check_")]:
        title = name.removeprefix("check_").replace("_", " ")
        try:
            getattr(checks, name)()
        except Exception:
            failed += 1
            print(f"FAILED  {title}")
            traceback.print_exc(file=sys.stdout)
        else:
            passed += 1
            print(f"ok      {title}")
    if failed:
        print(f"--- the router's log ---\n{fleet.log()}---")
    spread = ", ".join(f"{name} {count}" for name, count in checks.served_by.items())
    print(f"answers: {spread}")
    return passed, failed


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    # A signal ends this like an error does: with all processes stopped.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(1))
    passed = failed = 0
    for has_tls in (False, True):
        over = "TLS and HTTP/2" if has_tls else "plain HTTP/1.1"
        print(f"openai {openai.__version__} over {over} through sgl-router to {WORKERS} simulated workers")
        with tempfile.TemporaryDirectory() as directory, ExitStack() as stack:
            fleet = Fleet(stack, sys.argv[1], sys.argv[2], directory, has_tls)
            counts = run(Checks(fleet), fleet)
        passed, failed = passed + counts[0], failed + counts[1]
    print(f"{passed} passed, {failed} failed")
    sys.exit(1 if failed or not passed else 0)


main()

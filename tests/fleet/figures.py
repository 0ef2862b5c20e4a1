"""Figures of a fleet: routers as processes, one NATS, faults. scripts/fleet.sh runs it.

usage: figures.py ROUTER NATS_SERVER MODULE MODULE [--routers N] [--changes N] [--storm SECONDS] [--frozen SECONDS]
"""

import argparse
import http.client
import json
import os
import queue
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from datetime import datetime
from pathlib import Path


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def until(what, is_true, limit=60):
    began = time.monotonic()
    while not is_true():
        if time.monotonic() - began > limit:
            sys.exit(f"never happened within {limit} s: {what}")
        time.sleep(0.01)
    return time.monotonic() - began


class Nats:
    def __init__(self, program, folder):
        self.program, self.folder, self.port, self.process = program, folder, free_port(), None
        self.url = f"nats://127.0.0.1:{self.port}"
        self.start()

    def start(self):
        config = self.folder / "nats.conf"
        config.write_text(
            f'listen: "127.0.0.1:{self.port}"\njetstream {{ store_dir: "{self.folder}", sync_interval: always }}\n'
        )
        log = open(self.folder / "nats.log", "ab")
        self.process = subprocess.Popen([self.program, "-c", config], stdout=log, stderr=log)
        until("NATS listens", self.listens)

    def listens(self):
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def kill(self):
        self.process.kill()
        self.process.wait()


class Router:
    """A router of the fleet. Its log is read by a thread: when which generation began to serve."""

    def __init__(self, binary, number, nats, folder, workers, cache):
        self.name, self.served, self.steps, self.log = f"r{number:02}", {}, {}, folder / f"r{number:02}.log"
        flags = ["serve", "--log-format", "json", "--port", "0", "--prometheus-port", "0", "--admin-port", "0"]
        flags += ["--fleet", nats.url, "--fleet-name", "figures", "--fleet-router", self.name]
        flags += ["--state-dir", folder / self.name, "--aot-cache", cache, "--worker-header", "--worker-urls", *workers]
        self.process = subprocess.Popen(
            [binary, *flags], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
        )
        self.ready = queue.Queue()
        threading.Thread(target=self.read, daemon=True).start()
        serving = self.ready.get(timeout=60)
        self.data, self.admin = (int(serving[key].rsplit(":", 1)[1]) for key in ("clients", "admin"))

    def read(self):
        with open(self.log, "w") as kept:
            for line in self.process.stderr:
                kept.write(line)
                try:
                    entry = json.loads(line)
                except ValueError:
                    continue
                fields = entry.get("fields", {})
                at = datetime.fromisoformat(entry["timestamp"].replace("Z", "+00:00")).timestamp()
                message = fields.get("message", "")
                if message == "serving":
                    self.ready.put(fields)
                elif message == "another generation of the fleet serves":
                    self.served.setdefault(fields.get("to"), at)
                elif message == "this router took the fleet's rollout on" and fields["state"] == "rolling":
                    self.steps.setdefault((fields["generation"], fields["step"]), at)

    def ask(self, path):
        connection = http.client.HTTPConnection("127.0.0.1", self.admin, timeout=10)
        try:
            connection.request("GET", path)
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()

    def fleet(self):
        return self.ask("/v1/fleet")["fleet"]

    def serving(self):
        fleet = self.fleet()
        own = next(router for router in fleet["routers"] if router["name"] == self.name)
        return next((one["serving"] for one in own["plugins"] if one["name"] == "p"), 0)


class Crowd:
    """Clients of several routers, as behind a balancer: who cannot be reached is left for the next."""

    def __init__(self, routers, workers, clients=8):
        self.routers, self.workers, self.over = list(routers), workers, threading.Event()
        self.sent = self.failed = self.misrouted = self.elsewhere = 0
        self.lock, self.slowest, self.first_failure = threading.Lock(), 0.0, None
        self.threads = [threading.Thread(target=self.client, args=(number,)) for number in range(clients)]
        for thread in self.threads:
            thread.start()

    def client(self, number):
        connections, turn = {}, number
        while not self.over.is_set():
            turn += 1
            model = f"m{turn % 2}"
            began = time.monotonic()
            tried, answered = 0, None
            while answered is None and tried < 3:
                with self.lock:
                    router = self.routers[(turn + tried) % len(self.routers)]
                answered = self.ask(connections, router, model)
                tried += 1
            took = time.monotonic() - began
            with self.lock:
                self.sent += 1
                self.slowest = max(self.slowest, took)
                self.elsewhere += tried > 1
                if answered is None or answered[0] != 200:
                    self.failed += 1
                    self.first_failure = self.first_failure or (router.name, answered)
                elif answered[1] != self.workers[model]:
                    self.misrouted += 1
            time.sleep(0.02)

    @staticmethod
    def ask(connections, router, model):
        body = json.dumps({"model": model, "prompt": "x", "max_tokens": 4})
        try:
            connection = connections.setdefault(
                router.name, http.client.HTTPConnection("127.0.0.1", router.data, timeout=20)
            )
            connection.request("POST", "/v1/completions", body, {"content-type": "application/json"})
            answer = connection.getresponse()
            answer.read()
            return answer.status, answer.getheader("x-sgl-worker")
        except (OSError, http.client.HTTPException):
            connections.pop(router.name).close()
            return None

    def end(self):
        self.over.set()
        for thread in self.threads:
            thread.join()
        told = f"{self.sent} requests, {self.failed} failed, {self.misrouted} misrouted, slowest {self.slowest * 1000:.0f} ms"
        if self.elsewhere:
            told += f", {self.elsewhere} sent again to another router"
        return told + (f"; first failure: {self.first_failure}" if self.first_failure else "")


class Fleet:
    def __init__(self, args, folder):
        self.args, self.folder = args, folder
        (folder / "nats").mkdir()
        self.nats = Nats(args.nats_server, folder / "nats")
        self.sims, self.workers = [], {}
        for number in range(2):
            sim = subprocess.Popen(
                [args.router, "sim-worker", "--model", f"m{number}", "--time-scale", "0.1"],
                stdout=subprocess.PIPE, text=True,
            )
            self.sims.append(sim)
            self.workers[f"m{number}"] = sim.stdout.readline().split()[-1]
        self.routers = [self.start(number) for number in range(args.routers)]
        until("all are heard of", lambda: len(self.routers[0].fleet()["routers"]) == args.routers)

    def start(self, number):
        cache = self.folder / "aot"
        return Router(self.args.router, number, self.nats, self.folder, self.workers.values(), cache)

    def command(self, *arguments, may_fail=False):
        base = [self.args.router, "fleet", "--fleet", self.nats.url, "--fleet-name", "figures", "--json"]
        done = subprocess.run([*base, *arguments], capture_output=True, text=True)
        if done.returncode and not may_fail:
            sys.exit(f"{arguments}: {done.stdout} {done.stderr}")
        return json.loads(done.stdout) if done.returncode == 0 else None

    def push(self, number, *more, may_fail=False):
        module = self.args.modules[number % 2]
        flags = ["--name", "p", "--steps", "100", "--soak-secs", "0", "--place", *more]
        return self.command("push", module, *flags, may_fail=may_fail)

    def settled(self, limit=60):
        """Waits until all routers that live serve the newest generation; gives it."""
        def is_settled():
            fleet = self.routers[0].fleet()
            newest = next(one["generation"] for one in fleet["plugins"] if one["name"] == "p")
            self.newest = newest
            return all(router.serving() == newest for router in self.routers)
        until("all serve the newest", is_settled, limit)
        return self.newest

    def end(self):
        processes = [router.process for router in self.routers] + self.sims + [self.nats.process]
        for process in processes:
            process.send_signal(signal.SIGCONT)
            process.kill()
            process.wait()


def quantile(values, share):
    values = sorted(values)
    return values[min(len(values) - 1, int(share * len(values)))]


def changes(fleet, count):
    """From the write that begins the step to the last router that serves; modules are warm before."""
    steps, pushes = [], []
    for number in range(count):
        began = time.time()
        generation = fleet.push(number)["generation"]
        until("all serve it", lambda: all(generation in router.served for router in fleet.routers))
        last = max(router.served[generation] for router in fleet.routers)
        step = min(router.steps[generation, 1] for router in fleet.routers if (generation, 1) in router.steps)
        steps.append(max(0.0, last - step))
        if number > 1:
            pushes.append(last - began)
        until("it is done", lambda: fleet.routers[0].fleet()["plugins"][0]["state"] == "done")
    for what, values in (("step to last router", steps), ("push, made ready everywhere, to last router", pushes)):
        print(f"{what}: p50 {quantile(values, 0.5):.3f} s, p99 {quantile(values, 0.99):.3f} s, "
              f"largest {max(values):.3f} s ({len(values)} changes, {len(fleet.routers)} routers)", flush=True)


def storm(fleet, seconds):
    crowd = Crowd(fleet.routers, fleet.workers)
    began, pushed, refused, restarted, killed = time.monotonic(), 0, 0, False, None
    while time.monotonic() - began < seconds:
        turn = time.monotonic()
        if fleet.push(pushed, may_fail=True):
            pushed += 1
        else:
            refused += 1
        passed = time.monotonic() - began
        if not restarted and passed > seconds / 3:
            restarted = True
            fleet.nats.kill()
            threading.Timer(2.0, fleet.nats.start).start()
        if killed is None and passed > 2 * seconds / 3:
            killed = fleet.routers.pop()
            killed.process.kill()
            killed.process.wait()
            with crowd.lock:
                crowd.routers.remove(killed)
        time.sleep(max(0.0, 1.0 - (time.monotonic() - turn)))
    generation = fleet.settled()
    told = crowd.end()
    print(f"storm of {seconds} s: {pushed} changes pushed, {refused} not taken while NATS was away, NATS restarted, "
          f"{killed.name} killed; {told}; generation {generation} on all {len(fleet.routers)}", flush=True)
    fleet.routers.append(fleet.start(fleet.args.routers - 1))
    print(f"  {killed.name} started again; all serve generation {fleet.settled()}", flush=True)


def frozen(fleet, seconds):
    crowd = Crowd(fleet.routers, fleet.workers)
    fleet.nats.process.send_signal(signal.SIGSTOP)
    noticed = until("it is noticed", lambda: not any(router.fleet()["connected"] for router in fleet.routers))
    time.sleep(max(0.0, seconds - noticed))
    fleet.nats.process.send_signal(signal.SIGCONT)
    back = until("all are back", lambda: all(
        router.fleet()["connected"] and router.fleet()["fault"] is None for router in fleet.routers))
    print(f"NATS frozen for {seconds} s: noticed by all after {noticed:.1f} s, all back {back:.1f} s after it; "
          f"{crowd.end()}", flush=True)


def wiped(fleet):
    crowd = Crowd(fleet.routers, fleet.workers)
    generation = fleet.settled()
    fleet.nats.kill()
    shutil.rmtree(fleet.folder / "nats" / "jetstream")
    fleet.nats.start()
    held = until("all hold", lambda: all(router.fleet()["holding"] for router in fleet.routers))
    fleet.command("adopt", "--from", fleet.routers[0].name)
    back = until("all follow", lambda: not any(router.fleet()["holding"] for router in fleet.routers))
    now = fleet.settled()
    assert now == generation, (now, generation)
    print(f"NATS emptied: all hold {held:.1f} s after its restart, all follow {back:.1f} s after `fleet adopt`, "
          f"generation {now} on all; {crowd.end()}", flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("router")
    parser.add_argument("nats_server")
    parser.add_argument("modules", nargs=2)
    parser.add_argument("--routers", type=int, default=20)
    parser.add_argument("--changes", type=int, default=50)
    parser.add_argument("--storm", type=int, default=60)
    parser.add_argument("--frozen", type=int, default=30)
    args = parser.parse_args()
    os.environ.pop("SGL_ROUTER_ADMIN_TOKEN", None)
    with tempfile.TemporaryDirectory() as folder:
        fleet = Fleet(args, Path(folder))
        try:
            changes(fleet, args.changes)
            storm(fleet, args.storm)
            frozen(fleet, args.frozen)
            wiped(fleet)
        finally:
            fleet.end()


main()

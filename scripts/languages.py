"""Measures one policy, written in several languages, by the engine that the router has (PyPI wasmtime 48).

usage: scripts/languages.py ROUNDS LANGUAGE=MODULE=EXAMPLE...

Decisions are called by a loop that is Wasm itself: what is measured is the guest, without the router, whose part is
the same for all. Each decision is about another of 64 messages over 64 workers, and all languages have to choose the
same. Times are processor time of the thread, of compiling that of the process. Rounds go through the languages in
turns; figures are medians of the rounds.

Memory is what an instance has after init and a table of 64 workers; loading is from a module that was compiled
before, up to the answer of init; lines are those of the example that are not empty.
"""

import random
import statistics
import struct
import sys
import tempfile
import time

import wasmtime

WORKERS = 64
MESSAGES = 64
DECISIONS = 20_000

# Calls select_worker about one message after another, in an order without a pattern, and adds the answers up.
LOOP = """(module
  (import "guest" "memory" (memory 1))
  (import "guest" "select_worker" (func $select (param i32 i32) (result i64)))
  (func (export "loop") (param $at i32) (param $size i32) (param $messages i32) (param $left i32) (result i64)
    (local $state i64) (local $sum i64) (local $message i32)
    (local.set $state (i64.const 88172645463325252))
    (loop $next
      (local.set $state (i64.xor (local.get $state) (i64.shl (local.get $state) (i64.const 13))))
      (local.set $state (i64.xor (local.get $state) (i64.shr_u (local.get $state) (i64.const 7))))
      (local.set $state (i64.xor (local.get $state) (i64.shl (local.get $state) (i64.const 17))))
      (local.set $message (i32.add (local.get $at) (i32.mul (local.get $size)
        (i32.rem_u (i32.wrap_i64 (local.get $state)) (local.get $messages)))))
      ;; The last eight bytes are the input `random`.
      (i64.store align=1 (i32.sub (i32.add (local.get $message) (local.get $size)) (i32.const 8)) (local.get $state))
      (local.set $sum (i64.add (local.get $sum) (i64.load8_u (i32.wrap_i64
        (i64.shr_u (call $select (local.get $message) (local.get $size)) (i64.const 32))))))
      (br_if $next (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))
    (local.get $sum)))"""


def text(value):
    data = value.encode()
    return (bytes([0xA0 | len(data)]) if len(data) < 32 else bytes([0xD9, len(data)])) + data


def column(numbers):
    return b"\xc5" + struct.pack(f">H{len(numbers) * 4}s", len(numbers) * 4, struct.pack(f"<{len(numbers)}i", *numbers))


INIT = b"\x85" + text("abi") + b"\x01" + text("plugin") + text("bench") + text("generation") + b"\x01" + text("config") + b"\x80" + text("seed") + b"\x07"


def table():
    out = b"\x82" + text("version") + b"\x01" + text("workers") + b"\xdc" + struct.pack(">H", WORKERS)
    for index in range(WORKERS):
        out += b"\x85" + text("url") + text(f"http://10.0.0.{index}:30000") + text("model") + b"\xc0" + text("role") + text("regular")
        out += text("weight") + b"\xcb" + struct.pack(">d", 1.0) + text("labels") + b"\x80"
    return out


def message(chance):
    """healthy, excluded, load, queued_tokens, uncached_tokens, prefix_match, prompt_tokens, random"""

    def some(most):
        return column([chance.randrange(-1, most) for _ in range(WORKERS)])

    bits = b"\xc4\x08"
    columns = some(40) + some(9000) + some(9000) + some(4000)
    return b"\x99\x01" + bits + b"\xff" * 8 + bits + b"\x00" * 8 + columns + b"\xcd\x10\x00" + b"\xcf" + bytes(8)


class Guest:
    def __init__(self, engine, module):
        self.store = wasmtime.Store(engine)
        self.store.set_epoch_deadline(1 << 40)
        linker = wasmtime.Linker(engine)
        if any(entry.module == "wasi_snapshot_preview1" for entry in module.imports):
            linker.define_wasi()
            self.store.set_wasi(wasmtime.WasiConfig())
        for entry in module.imports:
            if entry.module == "sgl":
                linker.define_func("sgl", entry.name, entry.type, lambda *_: 0 if entry.type.results else None)
        self.exports = linker.instantiate(self.store, module).exports(self.store)
        if "_initialize" in self.exports:
            self.call("_initialize")
        answer = self.tell("init", INIT)
        assert answer & 0xFFFFFFFF == 0, "init refused"

    def call(self, name, *args):
        return self.exports[name](self.store, *args)

    def write(self, data):
        at = self.call("alloc", len(data))
        assert at, "no memory"
        self.exports["memory"].write(self.store, data, at)
        return at

    def tell(self, name, data):
        at = self.write(data)
        answer = self.call(name, at, len(data))
        self.call("dealloc", at, len(data))
        return answer


class Language:
    def __init__(self, engine, name, module, example):
        self.name, self.path, self.example = name, module, example
        self.bytes = open(module, "rb").read()
        # Compiling goes on in several threads.
        started = time.process_time()
        compiled = wasmtime.Module(engine, self.bytes)
        self.compile_ms = (time.process_time() - started) * 1e3
        self.file = tempfile.NamedTemporaryFile(suffix=".cwasm")
        self.file.write(compiled.serialize())
        self.file.flush()
        self.guest = Guest(engine, compiled)
        if "on_workers" in self.guest.exports:
            self.guest.tell("on_workers", table())
        self.memory = self.guest.exports["memory"].data_len(self.guest.store)
        loop = wasmtime.Module(engine, LOOP)
        linker = wasmtime.Linker(engine)
        for name in ("memory", "select_worker"):
            linker.define(self.guest.store, "guest", name, self.guest.exports[name])
        self.loop = linker.instantiate(self.guest.store, loop).exports(self.guest.store)["loop"]
        chance = random.Random(1)
        messages = [message(chance) for _ in range(MESSAGES)]
        self.size = len(messages[0])
        self.at = self.guest.write(b"".join(messages))
        self.sum = self.run(DECISIONS)
        self.loads, self.decisions = [], []

    def run(self, count):
        return self.loop(self.guest.store, self.at, self.size, MESSAGES, count)

    def measure(self, engine):
        started = time.thread_time()
        Guest(engine, wasmtime.Module.deserialize_file(engine, self.file.name))
        self.loads.append((time.thread_time() - started) * 1e3)
        started = time.thread_time()
        self.run(DECISIONS)
        self.decisions.append((time.thread_time() - started) * 1e9 / DECISIONS)

    def row(self, first):
        lines = sum(1 for line in open(self.example) if line.strip())
        decision = statistics.median(self.decisions)
        ratio = statistics.median(own / other for own, other in zip(self.decisions, first.decisions))
        return f"| {self.name} | {len(self.bytes):,} | {self.memory >> 10} | {self.compile_ms:.0f} | {statistics.median(self.loads):.2f} | {decision:.0f} | {ratio:.2f} | {lines} |"


def main():
    config = wasmtime.Config()
    config.epoch_interruption = True
    engine = wasmtime.Engine(config)
    rounds = int(sys.argv[1])
    languages = [Language(engine, *argument.split("=")) for argument in sys.argv[2:]]
    for language in languages:
        assert language.sum == languages[0].sum, f"{language.name} decides differently"
    for _ in range(rounds):
        for language in languages:
            language.measure(engine)
    print("| language | bytes | memory, KiB | compile, ms | load, ms | decision, ns | × Rust | lines |")
    print("|---|---|---|---|---|---|---|---|")
    for language in languages:
        print(language.row(languages[0]))


if __name__ == "__main__":
    main()

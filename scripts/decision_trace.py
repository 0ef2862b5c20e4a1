"""Steps through decisions of `cargo bench --bench runs -- trace` under gdb and says what they write.

For each form of a decision (see benches/runs/trace.rs), and each of two threads: the instructions of
one decision, its stores, its locked instructions by source line, and the cache lines that the
decisions of both threads write: what a machine with more cores would have to pass around.

The binary is stepped through without its symbols: with them, gdb takes a hundred times as long and
stumbles over some. UNSTRIPPED, an environment variable, is where they are.

usage: UNSTRIPPED=BINARY gdb --batch --nx -x scripts/decision_trace.py --args STRIPPED --bench trace
"""

import collections
import os
import re
import subprocess

import gdb

FORMS = ["sync", "async-adaptive", "async-fiber"]
LINE = 64

# What has memory as its last operand in AT&T syntax and does not write it.
READERS = re.compile(r"(cmp|test|bt[lqw]?\b|lea|jmp|call|push|prefetch|nop|mul|imul|div|idiv|vptest|ptest|ucomi|vucomi|comi|vcomi)")
OPERAND = re.compile(r"(%fs:)?(-?0x[0-9a-f]+)?\(([^()]*)\)")
SIZES = {"b": 1, "w": 2, "l": 4, "q": 8}


def register(name):
    return int(gdb.parse_and_eval("$" + name.strip().lstrip("%"))) & 0xFFFF_FFFF_FFFF_FFFF


def address_of(operand, following):
    """The address of a memory operand; `following` is that of the next instruction."""
    found = OPERAND.search(operand)
    if not found:
        absolute = re.fullmatch(r"(%fs:)?(0x[0-9a-f]+)", operand)
        return None if not absolute else int(absolute.group(2), 16) + (register("fs_base") if absolute.group(1) else 0)
    segment, offset, inner = found.groups()
    parts = [part.strip() for part in inner.split(",")]
    total = int(offset, 16) if offset else 0
    if parts[0] == "%rip":
        total += following
    elif parts[0]:
        total += register(parts[0])
    if len(parts) > 1 and parts[1] and parts[1] != "%riz":
        total += register(parts[1]) * (int(parts[2]) if len(parts) > 2 else 1)
    if segment:
        total += register("fs_base")
    return total & 0xFFFF_FFFF_FFFF_FFFF


def operands(text):
    """The operands, split at commas outside parentheses."""
    found, depth, current = [], 0, ""
    for letter in text:
        depth += (letter == "(") - (letter == ")")
        if letter == "," and depth == 0:
            found.append(current.strip())
            current = ""
        else:
            current += letter
    return found + [current.strip()] if current.strip() else found


def output(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def symbol(name):
    """The offset of a function in the binary."""
    lines = output("nm", UNSTRIPPED).splitlines()
    return next(int(line.split()[0], 16) for line in lines if line.endswith(f" {name}"))


def place(pc, base):
    """Function and line of an address, innermost first where functions were inlined."""
    frames = output("addr2line", "-f", "-C", "-i", "-e", UNSTRIPPED, hex(pc - base)).splitlines()
    found = "the guest, or a library"
    for name, line in zip(frames[::2], frames[1::2]):
        found = f"{re.sub(r'^.*/(registry/src/[^/]+|library)/', '', line).split(' ')[0]} in {name.split('<')[0]}"
        # The standard library's atomics are not the place that is wanted.
        if not re.search(r"/core/src/|/alloc/src/", line):
            return re.sub(r"^/.*?/(src|plugins)/", r"\1/", found)
    return found


def stored(mnemonic, arguments, following):
    """Address and length of what an instruction writes, or nothing."""
    if mnemonic.startswith("rep") and "movs" in arguments or mnemonic.startswith("movs") and "(%rsi)" in arguments:
        return register("rdi"), max(register("rcx"), 1)
    if mnemonic.startswith("rep") and "stos" in arguments:
        return register("rdi"), max(register("rcx"), 1)
    parts = operands(arguments)
    if not parts:
        return None
    target = parts[-1] if len(parts) > 1 or not READERS.match(mnemonic) else ""
    if mnemonic.startswith("xchg") and "(" in parts[0]:
        target = parts[0]
    if "(" not in target and not target.startswith("%fs:") or READERS.match(mnemonic):
        return None
    address = address_of(target, following)
    if address is None:
        return None
    source = parts[0] if len(parts) > 1 else ""
    width = 64 if "zmm" in source else 32 if "ymm" in source else 16 if "xmm" in source else SIZES.get(mnemonic[-1], 8)
    return address, width


def decision(end):
    """Steps from the return of trace_begin to trace_end: instructions, written lines with the address
    of an instruction that does, locked instructions with the line that they write."""
    stack = register("rsp")
    count, lines, locked = 0, {}, []
    gdb.execute("finish", to_string=True)
    while True:
        pc = register("rip")
        if pc == end:
            return count, lines, locked
        here = gdb.selected_inferior().architecture().disassemble(pc)[0]
        text = re.split("[<#]", here["asm"])[0].strip()
        words = text.removeprefix("lock").strip().split(None, 1)
        mnemonic, arguments = words[0], words[1] if len(words) > 1 else ""
        found = stored(mnemonic, arguments, pc + here["length"])
        count += 1
        if found:
            address, length = found
            # The thread's own stack is nobody else's.
            if not stack - (1 << 20) < address < stack + (1 << 16):
                for line in range(address // LINE, (address + length - 1) // LINE + 1):
                    lines.setdefault(line, pc)
        if text.startswith("lock") or mnemonic.startswith("xchg") and "(" in arguments:
            locked.append((found[0] // LINE if found else None, pc))
        try:
            gdb.execute("stepi", to_string=True)
        except gdb.error:
            # The step was made; gdb cannot describe where it led, on a fiber's stack.
            pass


def main():
    gdb.execute("set pagination off")
    gdb.execute("set confirm off")
    gdb.execute("handle SIGSEGV SIGILL SIGFPE nostop noprint pass", to_string=True)
    gdb.execute("starti", to_string=True)
    mapped = gdb.execute("info proc mappings", to_string=True).splitlines()
    base = next(int(line.split()[0], 16) for line in mapped if line.strip().startswith("0x"))
    begin, end = base + symbol("trace_begin"), base + symbol("trace_end")
    gdb.execute(f"break *{begin}", to_string=True)
    gdb.execute("continue", to_string=True)
    seen = collections.defaultdict(list)
    for _ in range(2 * len(FORMS)):
        form = FORMS[register("rdi")]
        # Others stand still while one decision is stepped through.
        gdb.execute("set scheduler-locking on")
        seen[form].append(decision(end))
        gdb.execute("set scheduler-locking off")
        gdb.execute("continue", to_string=True)
    # gdb prints every step, whatever it is told: what counts begins here.
    print("\nREPORT")
    for form, threads in seen.items():
        (count, lines, locked), (count_2, lines_2, locked_2) = threads
        print(f"{form}: {count} and {count_2} instructions, {len(locked)} and {len(locked_2)} of them locked")
        both = lines.keys() & lines_2.keys()
        for line, pc in locked:
            print(f"  locked, {'shared' if line in both else 'own'} line: {place(pc, base)}")
        print(f"  cache lines that both threads write: {len(both)} of {len(lines)} and {len(lines_2)}")
        for line in sorted(both):
            print(f"    {place(lines[line], base)}")
    gdb.execute("kill")


UNSTRIPPED = os.environ["UNSTRIPPED"]
main()

"""A policy plugin that lets two workers take turns, and declares what it is to be told, as WebAssembly."""

import struct


def number(value):
    """As WebAssembly writes numbers without a sign."""
    low, value = value & 0x7F, value >> 7
    return bytes([low | 0x80]) + number(value) if value else bytes([low])


def signed(value):
    low, value = value & 0x7F, value >> 7
    if value == 0 and not low & 0x40:
        return bytes([low])
    return bytes([low | 0x80]) + signed(value)


def listed(*items):
    return number(len(items)) + b"".join(items)


def section(kind, content):
    return bytes([kind]) + number(len(content)) + content


def text(value):
    return number(len(value)) + value.encode()


def packed(value):
    """MessagePack of short texts, small numbers, lists and maps of them."""
    if isinstance(value, str):
        return bytes([0xA0 | len(value)]) + value.encode()
    if isinstance(value, list):
        head = bytes([0x90 | len(value)]) if len(value) < 16 else bytes([0xDC, 0, len(value)])
        return head + b"".join(map(packed, value))
    if isinstance(value, dict):
        return bytes([0x80 | len(value)]) + b"".join(packed(part) for item in value.items() for part in item)
    return bytes([value])


def module(inputs=("prefix_match",), name="turns"):
    i32, i64 = b"\x7f", b"\x7e"
    manifest = {"abi": 1, "name": name, "wire": "columns", "inputs": list(inputs)}

    def kind(parameters, results):
        return b"\x60" + listed(*parameters) + listed(*results)

    def body(code):
        whole = listed() + code + b"\x0b"
        return number(len(whole)) + whole

    # [turn, tag 7, cost 1.0]
    buffer, answer, message = 4096, 1024, b"\x93\x00\x07\xca" + struct.pack(">f", 1.0)
    turn = (
        # turn = 1 - turn
        b"\x41" + signed(answer + 1) + b"\x41\x01" + b"\x41" + signed(answer + 1) + b"\x2d\x00\x00" + b"\x6b" + b"\x3a\x00\x00"
        + b"\x42" + signed(answer << 32 | len(message))
    )
    bodies = [body(b"\x41" + signed(buffer)), body(b""), body(b""), body(turn)]
    exports = [text(name) + b"\x00" + number(place) for place, name in enumerate(("alloc", "dealloc", "init", "select_worker"))]
    return b"\0asm\x01\0\0\0" + b"".join([
        section(1, listed(kind([i32], [i32]), kind([i32, i32], []), kind([], []), kind([i32, i32], [i64]))),
        section(3, listed(*map(number, range(4)))),
        section(5, listed(b"\x00\x10")),
        section(7, listed(text("memory") + b"\x02\x00", *exports)),
        section(10, listed(*bodies)),
        section(11, listed(b"\x00\x41" + signed(answer) + b"\x0b" + number(len(message)) + message)),
        section(0, text("sgl.policy") + packed(manifest)),
    ])

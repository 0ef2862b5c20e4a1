"""The same engine for both simulations: constants, ours as TOML, theirs as a profile."""

import struct
import zipfile

# Time that neither model has alone: a sequence costs nothing itself, and attention is linear in context.
ENGINE = {
    "step_ms": 12,
    "sequence_ms": 0,
    "context_token_ns": 29,
    "prompt_tokens_per_second": 10_000,
    "attention_tokens": 0,
    "chunk_tokens": 2048,
    "max_sequences": 256,
    "kv_blocks": 2000,
    "block_tokens": 512,
}
FAR = 1e7  # tokens; both axes of the profile end here, and it is linear up to there


def as_toml():
    return "".join(f"{key} = {value}\n" for key, value in ENGINE.items()) + 'reports = "none"\n'


def as_engine_args(profile):
    return {
        "engine": {
            "backend": "vllm",
            "num_gpu_blocks": ENGINE["kv_blocks"],
            "block_size": ENGINE["block_tokens"],
            "max_num_seqs": ENGINE["max_sequences"],
            "max_num_batched_tokens": ENGINE["chunk_tokens"],
            "timing_model": {
                "type": "external",
                "provider": "dynamo_profile",
                "config": {"path": str(profile)},
            },
        }
    }


def write_profile(path):
    step, context = ENGINE["step_ms"], ENGINE["context_token_ns"] / 1e6
    slow = step + context * FAR
    with zipfile.ZipFile(path, "w") as arrays:
        arrays.writestr("prefill_isl.npy", _npy([0, FAR], (2,)))
        prompt_ms = FAR / ENGINE["prompt_tokens_per_second"] * 1e3
        arrays.writestr("prefill_ttft_ms.npy", _npy([0, prompt_ms], (2,)))
        arrays.writestr("decode_active_kv_tokens.npy", _npy([0, FAR], (2,)))
        arrays.writestr("decode_context_length.npy", _npy([0, FAR], (2,)))
        arrays.writestr("decode_itl.npy", _npy([step, step, slow, slow], (2, 2)))


def _npy(values, shape):
    """An array of doubles as NumPy writes it (version 1.0 of its format)."""
    header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}"
    header += " " * (63 - (10 + len(header)) % 64) + "\n"
    data = struct.pack(f"<{len(values)}d", *values)
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + data

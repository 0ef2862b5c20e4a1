"""Makes a model for llama.cpp: a Llama of random weights whose tokens are the bytes.

usage: bytes_gguf.py OUT.gguf
"""

import sys

import gguf
import numpy

WIDTH, INNER, TOKENS, CONTEXT = 64, 128, 260, 65536


def tokens():
    """Byte-level BPE writes most printable bytes as they are, and the others from 256 on."""
    plain = {*range(33, 127), *range(161, 173), *range(174, 256)}
    rest = iter(range(256, 512))
    return [chr(b) if b in plain else chr(next(rest)) for b in range(256)] + ["<end>", "<start>", "<pad>", "ab"]


def describe(writer):
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(1)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(2)
    writer.add_head_count_kv(2)
    writer.add_rope_dimension_count(WIDTH // 2)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_vocab_size(TOKENS)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens())
    writer.add_token_merges(["a b"])
    kinds = gguf.TokenType
    writer.add_token_types([kinds.NORMAL] * 256 + [kinds.CONTROL] * 3 + [kinds.NORMAL])
    writer.add_eos_token_id(256)
    writer.add_bos_token_id(257)
    writer.add_add_bos_token(False)
    writer.add_chat_template("{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant: ")


def weights():
    random = numpy.random.default_rng(0)
    shapes = {"token_embd": (TOKENS, WIDTH), "output": (TOKENS, WIDTH)}
    shapes |= {f"blk.0.attn_{part}": (WIDTH, WIDTH) for part in ("q", "k", "v", "output")}
    shapes |= {"blk.0.ffn_gate": (INNER, WIDTH), "blk.0.ffn_up": (INNER, WIDTH), "blk.0.ffn_down": (WIDTH, INNER)}
    matrices = {name: (random.standard_normal(shape) * 0.1).astype(numpy.float32) for name, shape in shapes.items()}
    ones = numpy.ones(WIDTH, numpy.float32)
    return matrices | {"output_norm": ones, "blk.0.attn_norm": ones, "blk.0.ffn_norm": ones}


writer = gguf.GGUFWriter(sys.argv[1], "llama")
describe(writer)
for name, value in weights().items():
    writer.add_tensor(f"{name}.weight", value)
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()

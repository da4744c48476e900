"""Bundles and published weights: damaged and hostile files of each kind a bundle is made of.

python benchmarks/robustness/bundles.py --cases 50000 --seed 1

A file of the kind `whole` must be read as it was written. Others are damaged at random places, in
their bytes or in what their JSON says, or are programs of random instructions; they may be taken
or refused.
"""

import io
import json
import random
import zipfile
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from harness import Case, Fuzzer, LostError, main
from virnucpro.bundles import digests
from virnucpro.bundles.architectures import recognise
from virnucpro.bundles.bundle_files import read_tensors, read_tokenizer
from virnucpro.bundles.convert import convert_encoder, convert_head
from virnucpro.bundles.manifest import Manifest, parse_manifest
from virnucpro.bundles.store import EMBEDDED, unknown_bundle
from virnucpro.bundles.weights import read_config, read_weights
from virnucpro.classify.head import Head
from virnucpro.classify.probability import least_score
from virnucpro.encoders import Esm2Config
from virnucpro.encoders.esm2 import TOKEN_DROPOUT_SCALE
from virnucpro.prediction.report.page import _html

WHOLE = " whole"
FEATURES, HIDDEN = 12, 4
#: What somebody may write in place of any value of JSON.
VALUES: tuple[Any, ...] = (
    None, True, 0, -1, 1, 2**31, 2**63, 2**64, 10**400, 1e-400, 1e308, 0.5, "", "a", "\x1b[31m",
    "[/red]", "\ud800", "\x00", "/etc/passwd", "../../x", "a" * 3000, [], {}, [[]] * 50,
    [1] * 5000, {"a": 1}, "F64", "I64", [2**40, 2**40], [0, 2**60], "NaN", "\u202e",
)  # fmt: skip
W, ZERO = b"X\x01\x00\x00\x00w", b"X\x01\x00\x00\x000"
LINEAR = b"ctorch.nn.modules.linear\nLinear\n"
STORAGE = b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\n" + ZERO + b"NK\x10tQ"
TENSOR = b"ctorch._utils\n_rebuild_tensor_v2\n(" + STORAGE + b"K\x00K\x02\x85K\x01\x85tR"
#: Steps of pickles: how many values they need on the stack, by how many it grows, and the bytes.
STEPS = (
    *((0, 1, step) for step in (
        b"N", b")", b"]", b"}", b"K\x02", b"\x8a\x05\xff\xff\xff\xff\x7f", b"G?\xf0" + bytes(6),
        b"\x8f", W, TENSOR, STORAGE, b"h\x00", LINEAR, b"ctorch._utils\n_rebuild_parameter\n",
        b"ctorch\nSize\n", b"ccollections\nOrderedDict\n)R", b"c__builtin__\nset\n",
        b"cos\nsystem\n", b"\x88", b"(" + 300 * b"K\x01" + b"t", LINEAR + b")\x81",
        b"U\x02ab", b"\x8a\x01\x01",
    )),
    *((1, 0, step) for step in (
        b"\x85", b"q\x00", b"q\x02", b"q\x01h\x01\x86", 20 * b"q\x01h\x01\x86", b"}b", b"Na", b"Q",
        W + b"K\x02s", W + TENSOR + b"s", b"(" + W + TENSOR + b"u", b")K\x02s", b"h\x00h\x00s",
        b"h\x00a", b"}X\x0b\x00\x00\x00_parameters}" + W + TENSOR + b"ssb",
        b"(h\x00h\x00e", b"(h\x00h\x00u", b"r\xff\xff\xff\x7f",
        b"}X\x08\x00\x00\x00_modules}" + W + b"h\x00ssb",
    )),
    *((2, -1, step) for step in (b"\x86", b"a", b"b", b"R", b"\x81")),
    (3, -2, b"\x87"), (3, -2, b"s"),
)  # fmt: skip


def _head() -> dict[str, Tensor]:
    return Head(FEATURES, HIDDEN).state_dict()


def _esm2() -> dict[str, Tensor]:
    """Return an ESM-2 of one layer as transformers names its tensors."""
    width, layer = 8, "esm.encoder.layer.0."
    state = {"esm.embeddings.word_embeddings.weight": torch.ones(33, width)}
    shapes = {
        "attention.self.query": (width, width), "attention.self.key": (width, width),
        "attention.self.value": (width, width), "attention.output.dense": (width, width),
        "intermediate.dense": (4 * width, width), "output.dense": (width, 4 * width),
        "attention.LayerNorm": (width,), "LayerNorm": (width,),
    }  # fmt: skip
    for name, shape in shapes.items():
        state |= {f"{layer}{name}.weight": torch.ones(shape)}
        state |= {f"{layer}{name}.bias": torch.ones(shape[:1])}
    for kind in ("weight", "bias"):
        state[f"esm.encoder.emb_layer_norm_after.{kind}"] = torch.ones(width)
    return state


CONFIG = {
    "model_type": "esm", "position_embedding_type": "rotary", "token_dropout": True,
    "emb_layer_norm_before": False, "layer_norm_eps": 1e-5, "mask_token_id": 32, "pad_token_id": 1,
    "hidden_act": "gelu", "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2,
    "intermediate_size": 32, "vocab_size": 33,
}  # fmt: skip


def _saved(content: object, *, is_new: bool = True) -> bytes:
    file = io.BytesIO()
    torch.save(content, file, _use_new_zipfile_serialization=is_new)
    return file.getvalue()


HEAD, ESM2 = _head(), _esm2()
INDEX = {"metadata": {}, "weight_map": dict.fromkeys(HEAD, "model.safetensors")}
RECORDS = {"a/b/c": {"sha256": "0" * 64, "commit": "", "date": "2026-01-01"}}
PAIR, COMPACT = EMBEDDED["compact-pair"], EMBEDDED["compact"]
#: Kind -> what is damaged.
CONTENTS: dict[str, bytes] = {
    "zip": _saved(HEAD),
    "legacy": _saved(HEAD, is_new=False),
    "safetensors": save(HEAD),
    "head": save(HEAD),
    "index": json.dumps(INDEX).encode(),
    "config": json.dumps(CONFIG).encode(),
    "tokenizer": (PAIR / "dna_tokenizer.json").read_bytes(),
    "manifest": (PAIR / "bundle.json").read_bytes(),
    "calibration": (COMPACT / "bundle.json").read_bytes(),
    "records": json.dumps(RECORDS).encode(),
    "card": (PAIR / "README.md").read_bytes(),
}
JSON = ("index", "config", "tokenizer", "manifest", "calibration", "records")


def draw(chance: random.Random) -> Case:
    """Return a file; one of the kind `whole` must be read as it was written."""
    if chance.random() < 0.2:
        return Case("program", _program_of(chance))
    kind = chance.choice(list(CONTENTS))
    content = CONTENTS[kind]
    if chance.random() < 0.1:
        return Case(kind + WHOLE, content)
    if kind in JSON and chance.random() < 0.7:
        found = json.loads(content)
        for _ in range(chance.randint(1, 3)):
            _change(found, chance)
        return Case(kind, json.dumps(found).encode())
    if kind in ("safetensors", "head") and chance.random() < 0.7:
        return Case(kind, _with_header(content, chance))
    return Case(kind, _damaged(content, chance))


def _program_of(chance: random.Random) -> bytes:
    """Return a pickle whose steps find on the stack what they need, if not of the right kind."""
    depth, program = 1, b"\x80\x02" + chance.choice((b"}", LINEAR + b")\x81", b"]")) + b"q\x00"
    for _ in range(chance.randint(1, 40)):
        needed, growth, step = chance.choice(STEPS)
        if needed <= depth:
            program += step
            depth += growth
    return program + b"."


def _change(found: Any, chance: random.Random) -> None:  # noqa: ANN401
    """Change, remove or add a random value of JSON."""
    while isinstance(found, dict | list) and found:
        place = chance.choice(list(found) if isinstance(found, dict) else range(len(found)))
        inner = found[place]
        if isinstance(inner, dict | list) and inner and chance.random() < 0.8:
            found = inner
            continue
        if chance.random() < 0.2:
            del found[place]
        elif isinstance(found, dict) and chance.random() < 0.2:
            found[str(chance.choice(VALUES))[:200]] = inner
        else:
            found[place] = deepcopy(chance.choice(VALUES))
        return


def _with_header(content: bytes, chance: random.Random) -> bytes:
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    for _ in range(chance.randint(1, 2)):
        _change(header, chance)
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + content[end:]


def _damaged(content: bytes, chance: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(chance.randint(1, 4)):
        place, length = chance.randrange(len(changed)), chance.randint(0, 3)
        changed[place : place + length] = chance.randbytes(chance.randint(0, 3))
        changed = changed or bytearray(b"x")
    if chance.random() < 0.2:
        changed = changed[: chance.randint(1, len(changed))]
    return bytes(changed)


def attempt(case: Case, folder: Path) -> None:
    """Read a file as the program does."""
    kind = case.kind.removesuffix(WHOLE)
    for path in folder.iterdir():
        path.unlink()
    found = READERS[kind](case.data, folder)
    if case.kind.endswith(WHOLE) and found is not True:
        raise LostError(f"a {kind} is not read as it was written")


def _weights(content: bytes, folder: Path, *, is_head: bool = True) -> bool:
    path = folder / "model.pth"
    path.write_bytes(content)
    state = read_weights(path)
    if is_head:
        _, state = convert_head(state, str(path))
    return _equal(state, HEAD)


def _program(content: bytes, folder: Path) -> bool:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", content)
        archive.writestr("archive/version", b"3\n")
        archive.writestr("archive/data/0", bytes(64))
    return _weights(file.getvalue(), folder, is_head=False)


def _bundled_head(content: bytes, folder: Path) -> bool:
    path = folder / "head.safetensors"
    path.write_bytes(content)
    return _equal(read_tensors(path, HEAD), HEAD)


def _index(content: bytes, folder: Path) -> bool:
    (folder / "model.safetensors").write_bytes(CONTENTS["safetensors"])
    (folder / "model.safetensors.index.json").write_bytes(content)
    return _equal(read_weights(folder), HEAD)


def _config(content: bytes, folder: Path) -> bool:
    (folder / "config.json").write_bytes(content)
    found = recognise(ESM2, str(folder))
    sizes, state = convert_encoder(found, ESM2, read_config(folder), str(folder))
    embedding = ESM2["esm.embeddings.word_embeddings.weight"] * TOKEN_DROPOUT_SCALE
    return sizes == Esm2Config(1, 8, 2, vocabulary=33) and bool(
        torch.equal(state["embedding.weight"], embedding)
    )


def _tokenizer(content: bytes, folder: Path) -> bool:
    path = folder / "dna_tokenizer.json"
    path.write_bytes(content)
    tokens = read_tokenizer(path, 4096)(["ACGT" * 400, "N"])
    return bool(tokens.ids[0] == 1) and len(tokens.lengths) == 2


def _manifest(content: bytes, _: Path) -> bool:
    found = parse_manifest(content, "bundle.json")
    if not isinstance(found, Manifest):
        return False
    if found.calibration is not None:
        least_score(found.calibration, 0.1, 0.5)
    return found.name in EMBEDDED and bool(unknown_bundle(found.name))


def _records(content: bytes, folder: Path) -> bool:
    path = folder / ".digests.json"
    path.write_bytes(content)
    return list(digests._records(path)) == list(RECORDS)  # noqa: SLF001


def _card(content: bytes, _: Path) -> bool:
    return "<" in _html(content.decode("utf-8", "replace"))


def _equal(found: dict[str, Tensor], expected: dict[str, Tensor]) -> bool:
    return found.keys() == expected.keys() and all(
        torch.equal(found[name], tensor) for name, tensor in expected.items()
    )


READERS: dict[str, Callable[[bytes, Path], bool]] = {
    "zip": _weights,
    "legacy": _weights,
    "safetensors": _weights,
    "program": _program,
    "head": _bundled_head,
    "index": _index,
    "config": _config,
    "tokenizer": _tokenizer,
    "manifest": _manifest,
    "calibration": _manifest,
    "records": _records,
    "card": _card,
}
FUZZER = Fuzzer("bundles", draw, attempt)

if __name__ == "__main__":
    main(FUZZER)

"""`virnucpro embed` with records that it cannot embed, and commands that it must refuse."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

import virnucpro
from processes import EXAMPLES, run
from virnucpro.bundles import Bundle
from virnucpro.embedding.formats.any_format import FORMATS

if TYPE_CHECKING:
    from virnucpro.encoders.pooling import Pooling

#: A block of these is of 2^15 letters, so that there are several.
TOKENS = ["--pooling", "tokens"]
CPU = ["--device", "cpu"]


def vectors(out: Path) -> tuple[list[str], list[NDArray[np.floating[Any]]]]:
    ids, values = zip(*virnucpro.read_embeddings(out), strict=True)
    return list(ids), list(values)


BAD = {"none": "", "digits": "MKV1LL2", "stops": "**", "spaced": "MK VL"}


def test_records_that_cannot_be_embedded_are_listed_and_left_out(
    protein: str, tmp_path: Path
) -> None:
    path, out = tmp_path / "mixed.fa", tmp_path / "out"
    bad = "".join(f">{name}\n{letters}\n" for name, letters in BAD.items())
    path.write_text(f">first\nMKVLA\n{bad}>last word\nMKK\n")
    done = run("embed", path, "-o", out, "--model", protein, *CPU, "-q")
    assert done.returncode == 3
    said = done.stderr.splitlines()
    assert len(said) == len(BAD)
    lines = [
        "record 2 (none), line 3: has no residues",
        "record 3 (digits), line 5: letters that are not residues ('12')",
        "record 4 (stops), line 7: has no residues",
        "record 5 (spaced), line 9: letters that are not residues (' ')",
    ]
    assert said == [f"virnucpro: not processed: {path}: {line}" for line in lines]
    assert vectors(out)[0] == ["first", "last"]
    summary = json.loads((out / "summary.json").read_text())
    assert (summary["records"], summary["embedded"], summary["vectors"]) == (6, 2, 2)
    assert summary["problems"] == [f"{path}: {line}" for line in lines]


@pytest.mark.parametrize("format_", FORMATS)
def test_nothing_but_records_that_cannot_be_embedded(
    protein: str, dna: str, tmp_path: Path, format_: str
) -> None:
    path = tmp_path / "none.fa"
    path.write_text(">a\n\n>b\n\n")
    models: dict[Pooling, str] = {"mean": protein, "tokens": dna}
    for pooling, model in models.items():
        out = tmp_path / pooling
        summary = virnucpro.embed(
            path, out, model=model, pooling=pooling, file_format=format_, device="cpu"
        )  # fmt: skip
        assert (summary.records, summary.embedded, len(summary.problems)) == (2, 0, 2)
        assert list(virnucpro.read_embeddings(out)) == []


def test_dna_given_to_a_protein_encoder_is_read_as_residues(protein: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = run("embed", EXAMPLES[1], "-o", out, "--model", protein, *CPU, *TOKENS, "-q")
    assert done.returncode == 0, done.stderr
    entries = [entry.split("\n", 1) for entry in Path(EXAMPLES[1]).read_text().split(">")[1:]]
    ids, values = vectors(out)
    assert ids == [header.split()[0] for header, _ in entries]
    assert [len(rows) for rows in values] == [len("".join(x.split())) for _, x in entries]


class Places(NamedTuple):
    """The files that refused commands name."""

    protein: str
    dna: str
    bundle: str
    proteins: Path
    finished: Path
    predicted: Path
    new: Path
    whole: Path

    def embed(self, *options: object, of: object = None, model: object = None) -> list[str]:
        """Return a command with valid defaults."""
        words = ["embed", of or self.proteins, "--model", model or self.protein, *CPU, *options]
        where = [] if "-o" in options else ["-o", self.new]
        return [str(word) for word in (*words, *where)]


#: Refused commands and their messages.
REFUSED: dict[str, tuple[Callable[[Places], list[str]], str]] = {
    "layer 0": (lambda p: p.embed("--layer", "0"), "--layer 0: "),
    "layer -1": (lambda p: p.embed("--layer", "-1"), "has layers 1 to 2"),
    "layer 3": (lambda p: p.embed("--layer", "3"), "has layers 1 to 2"),
    "pooling": (lambda p: p.embed("--pooling", "max"), "--pooling max: give mean, cls, tokens"),
    "format": (
        lambda p: p.embed("--format", "csv"),
        "--format csv: give parquet, hdf5, npz, safetensors",
    ),
    "dtype": (lambda p: p.embed("--dtype", "float32"), "--dtype float32: give fp32, fp16"),
    "precision": (lambda p: p.embed("--precision", "fp7"), "--precision fp7: give auto, fp32"),
    "fp16 on a CPU": (lambda p: p.embed("--precision", "fp16"), "on a CPU give fp32, bf16 or int8"),
    "device": (lambda p: p.embed("--device", "tpu"), "--device tpu"),
    "executor": (lambda p: p.embed("--executor", "slurm"), "give local, ray, launched"),
    "not launched": (
        lambda p: p.embed("--executor", "launched"),
        "start the command with torchrun",
    ),
    "model": (lambda p: p.embed(model="nonesuch"), "no encoder 'nonesuch': give "),
    "published": (
        lambda p: p.embed(model="esm2_t6_8M_UR50D"),
        "type virnucpro models fetch esm2_t6_8M_UR50D",
    ),
    "whole bundle": (
        lambda p: p.embed(model=p.bundle),
        "a whole bundle; give {0.bundle}:protein or {0.bundle}:dna",
    ),
    "compact-pair": (
        lambda p: p.embed(model="compact-pair"),
        "a whole bundle; give compact-pair:protein or compact-pair:dna",
    ),
    "one network": (
        lambda p: p.embed(model="compact"),
        "compact: reads all frames with one network and has no protein encoder; ",
    ),
    "kind": (lambda p: p.embed(model=f"{p.bundle}:rna"), "no encoder"),
    "protein as DNA": (
        lambda p: p.embed(model=p.dna, of=p.whole),
        "record 1 (p0), line 2: letters that are not nucleotides",
    ),
    "missing": (lambda p: p.embed(of="nonesuch.fa"), "nonesuch.fa: cannot be read"),
    "directory": (lambda p: p.embed(of=p.finished), "is a directory; give its files"),
    "twice": (lambda p: p.embed("-", of="-"), "can be read only once"),
    "other pooling": (
        lambda p: p.embed("-o", p.finished, "--pooling", "cls"),
        "{0.finished}: holds another run (pooling was mean, is cls); ",
    ),
    "other layer": (
        lambda p: p.embed("-o", p.finished, "--layer", "1"),
        "(layer was 2, is 1); ",
    ),
    "other format": (
        lambda p: p.embed("-o", p.finished, "--format", "npz"),
        "(format was parquet, is npz); ",
    ),
    "other dtype": (
        lambda p: p.embed("-o", p.finished, "--dtype", "fp16"),
        "(dtype was fp32, is fp16); ",
    ),
    "other model": (
        lambda p: p.embed("-o", p.finished, model="compact-pair:protein"),
        "is compact-pair:protein; ",
    ),
    "other precision": (
        lambda p: p.embed("-o", p.finished, "--precision", "bf16"),
        "(precision was fp32, is bf16); ",
    ),
    "other input": (
        lambda p: p.embed("-o", p.finished, of=EXAMPLES[1]),
        "input was {0.proteins}, is ",
    ),
    "of predict": (
        lambda p: p.embed("-o", p.predicted, of=EXAMPLES[1]),
        "command was predict, is embed; ",
    ),
    "predict": (
        lambda p: ["predict", EXAMPLES[1], "-o", str(p.finished), *CPU],
        "command was embed, is predict; ",
    ),
    "predict with a lone encoder": (
        lambda p: ["predict", EXAMPLES[1], "-o", str(p.new), "--bundle", p.protein],
        "no bundle '{0.protein}'",
    ),
}


@pytest.fixture(scope="module")
def places(
    small_bundle: Bundle,
    protein: str,
    dna: str,
    proteins: Path,
    finished: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Places:
    directory = tmp_path_factory.mktemp("places")
    predicted = directory / "predicted"
    bundle, new = str(small_bundle.path), directory / "new"
    virnucpro.predict(EXAMPLES[1], predicted, bundle=bundle, device="cpu", report=False)
    whole = directory / "whole.fa"  # short ones may be nucleotides, too
    whole.write_text("".join(f">p{i}\nMEEPQSDPSVEPPLSQETF\n" for i in range(3)))
    return Places(protein, dna, bundle, proteins, finished, predicted, new, whole)


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_in_one_line_and_leaves_nothing(
    places: Places, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("RANK", "LOCAL_RANK", "SLURM_PROCID", "SLURM_LOCALID"):
        monkeypatch.delenv(variable, raising=False)
    command, message = REFUSED[name]
    done = run(*command(places))
    assert done.returncode == 1, done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("virnucpro: error: ")
    assert message.format(places) in done.stderr
    assert not places.new.exists()


def test_wrong_usage_has_status_2_and_help_loads_no_torch(tmp_path: Path) -> None:
    for arguments in (["embed"], ["embed", "x.fa", "-o", tmp_path], ["embed", "--layer", "two"]):
        done = run(*arguments)
        assert done.returncode == 2
        assert "Traceback" not in done.stderr
    code = (
        "import sys; from virnucpro.cli.app import app; app(standalone_mode=False);"
        "sys.exit('torch' in sys.modules)"
    )
    command = [sys.executable, "-c", code, "embed", "--help"]
    done = subprocess.run(command, capture_output=True, check=False, text=True)
    assert done.returncode == 0, done.stderr
    assert "--pooling" in done.stdout

"""Training on two encoders that no bundle has together yet: an ESM C and a DNABERT-S."""

import json
import random
from pathlib import Path

import pytest

import virnucpro
from published_files import ESM_C_HEADS, ESM_C_LAYERS, ESM_C_WIDTH, written
from virnucpro.bundles import load_bundle
from virnucpro.bundles.assemble import add_encoder
from virnucpro.bundles.registry import ENCODERS
from virnucpro.encoders.esm_c import EsmCConfig
from virnucpro.errors import BundleError

#: Codons of either kind of gene, none of them a stop on either strand or in another frame.
KINDS = {"virus": ["GCC", "GGC", "GAC"], "other": ["CGG", "CTC", "CCG"]}


@pytest.fixture(autouse=True)
def _added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Add an ESM C, an ESM-2 and a DNABERT-S."""
    monkeypatch.setenv("VIRNUCPRO_HOME", str(tmp_path / "home"))
    small = ENCODERS["esmc-300m"]._replace(
        layers=ESM_C_LAYERS, width=ESM_C_WIDTH, heads=ESM_C_HEADS
    )
    monkeypatch.setitem(ENCODERS, "esmc-300m", small)
    files = written(tmp_path / "published")
    add_encoder("esmc-300m", files.esm_c)
    add_encoder("small-dna", files.dna)
    add_encoder("small-esm2", files.esm2)


def test_a_head_is_trained_on_them_and_predicts(tmp_path: Path) -> None:
    moments = random.Random(2)
    for kind, codons in KINDS.items():
        with (tmp_path / f"{kind}.fa").open("w") as file:
            for i in range(12):
                letters = "".join(moments.choices(codons, k=moments.randint(60, 160)))
                file.write(f">{kind}{i}\n{letters}\n")
    virus, other, out = tmp_path / "virus.fa", tmp_path / "other.fa", tmp_path / "out"
    report = virnucpro.train(
        [virus, other], out, encoders="esmc-300m+small-dna", group="record", device="cpu"
    )
    assert report.metrics["dev"]["auroc"] > 0.99
    manifest = load_bundle(out / "bundle").manifest
    assert isinstance(manifest.protein_encoder, EsmCConfig)
    assert manifest.provenance.keys() >= {"ESM C", "DNABERT-S", "head"}
    virnucpro.predict(virus, tmp_path / "p", bundle=out / "bundle", device="cpu", report=False)
    assert json.loads((tmp_path / "p" / "summary.json").read_text())["calls"]["virus"] == 12


@pytest.mark.parametrize(
    ("encoders", "message"),
    [
        ("esmc-300m+small-esm2", "give a protein encoder and a DNA encoder"),
        ("esmc-300m+esmc-600m", "esmc-600m: is not here; type virnucpro models fetch esmc-600m"),
    ],
)
def test_encoders_that_are_no_pair(tmp_path: Path, encoders: str, message: str) -> None:
    with pytest.raises(BundleError, match=message):
        virnucpro.train(tmp_path, tmp_path / "out", encoders=encoders, device="cpu")

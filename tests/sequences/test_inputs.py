"""What is noted of inputs before anything is computed."""

from pathlib import Path

import pytest

from virnucpro.sequences.inputs import checked_inputs, dna_notes

DNA = ">a\nACGTNacgu\n" * 50
PROTEIN = ">a\nMEEPQSDPSVEPPLSQETFSDLWKLL\n" * 20


@pytest.mark.parametrize(
    ("text", "kind", "is_noted"),
    [
        (DNA, "protein", True),
        (DNA, "dna", False),
        (PROTEIN, "protein", False),
        (f"{DNA}{PROTEIN}", "protein", True),
        (f"{PROTEIN}{DNA}", "protein", False),
        (">a\nACGTACGT\n", "protein", False),
        ("", "protein", False),
        (f">a\n{'ACGT' * 1_000_000}\n", "protein", True),
    ],
)
def test_dna_that_is_embedded_as_protein_is_noted(
    tmp_path: Path, text: str, kind: str, *, is_noted: bool
) -> None:
    path = tmp_path / "a.fa"
    path.write_text(text)
    notes = dna_notes(checked_inputs(path, kind), kind)  # type: ignore[arg-type]
    assert [note.split(" holds ")[0] for note in notes] == [str(path)] * is_noted


def test_a_stream_is_not_looked_at() -> None:
    assert dna_notes(["-"], "protein") == []

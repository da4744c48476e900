"""What is noted of inputs before anything is computed."""

import sys
from collections import Counter
from pathlib import Path

import pytest

from virnucpro.prediction.job import load_named, prediction_job
from virnucpro.prediction.options import PredictOptions
from virnucpro.sequences.inputs import checked_inputs

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
    notes = checked_inputs(path, kind).dna_notes()  # type: ignore[arg-type]
    assert [note.split(" holds ")[0] for note in notes] == [str(path)] * is_noted


def test_a_stream_is_not_looked_at() -> None:
    assert checked_inputs("-", "protein").dna_notes() == []


@pytest.mark.parametrize("bam", [False, True])
def test_each_input_is_opened_once_before_a_run_and_once_for_it(
    tmp_path: Path, *, bam: bool
) -> None:
    names = ["one.fa", "mates_1.fa", "mates_2.fa"]
    for name in names:
        (tmp_path / name).write_text("".join(f">r{i}\n{'ATGGCTGCA' * 40}\n" for i in range(4)))
    opened: Counter[str] = Counter()
    is_counting = True

    def count(event: str, arguments: tuple[object, ...]) -> None:
        if is_counting and event == "open" and Path(str(arguments[0])).name in names:
            opened[Path(str(arguments[0])).name] += 1

    sys.addaudithook(count)
    one, *mates = (str(tmp_path / name) for name in names)
    job = prediction_job(
        load_named(PredictOptions()), one, [(mates[0], mates[1])], tmp_path / "out",
        PredictOptions(bam=bam),
    )  # fmt: skip
    assert opened == dict.fromkeys(names, 1)
    assert sum(len(block.pieces) for block in job.task.cut(job.inputs)) == 12
    is_counting = False
    assert opened == dict.fromkeys(names, 2)

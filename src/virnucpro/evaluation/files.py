"""The files of an evaluation; each appears whole."""

from contextlib import suppress
from pathlib import Path

import msgspec

from virnucpro.errors import RunError, reading
from virnucpro.evaluation.records import Records
from virnucpro.evaluation.report import Asked, Evaluation
from virnucpro.files import write_whole

#: File name -> what is in it, in the order of writing.
FILES = {
    "evaluation.json": "everything",
    "evaluation.tsv": "one line a measure",
    "roc.png": "recall against false positives",
    "pr.png": "precision against recall",
    "reliability.png": "probabilities against shares of viral records",
}


class _Earlier(msgspec.Struct):
    """What is read of an earlier evaluation.json."""

    asked: Asked


def refuse_other_content(out: Path, asked: Asked) -> None:
    """Refuse to overwrite files that are not of the same evaluation.

    Raises:
        RunError: when `out` is a file, or holds files of another evaluation.
    """
    if out.exists() and not out.is_dir():
        raise RunError(f"{out}: is a file; give a new directory")
    there = [name for name in FILES if (out / name).exists()]
    if there and _asked_before(out / "evaluation.json") != asked:
        raise RunError(f"{out}: holds {there[0]} of something else; give a new directory")


def _asked_before(path: Path) -> Asked | None:
    with suppress(RunError), reading(path, "give a new directory", RunError):
        return msgspec.json.decode(path.read_bytes(), type=_Earlier).asked
    return None


def write_files(out: Path, evaluation: Evaluation, records: Records) -> None:
    """Write everything under `out`."""
    from virnucpro.evaluation.pictures import (  # noqa: PLC0415 (an extra)
        precision_recall_picture,
        reliability_picture,
        roc_picture,
    )

    contents = (
        evaluation.to_json(),
        evaluation.to_tsv(),
        roc_picture(evaluation, records),
        precision_recall_picture(evaluation, records),
        reliability_picture(evaluation),
    )
    for name, content in zip(FILES, contents, strict=True):
        write_whole(out / name, content)

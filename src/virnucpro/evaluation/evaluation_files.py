"""The files of an evaluation; each is written whole or not at all."""

from contextlib import suppress
from pathlib import Path

import msgspec

from virnucpro.errors import RunError, reading
from virnucpro.evaluation.matched_records import Records
from virnucpro.evaluation.result import Asked, Evaluation
from virnucpro.files import as_json, write_whole

#: Names of the files, in the order in which they are written.
FILES = ("evaluation.json", "evaluation.tsv", "roc.png", "pr.png", "reliability.png")


class _Earlier(msgspec.Struct):
    """The part of an earlier evaluation.json that is read."""

    asked: Asked


def refuse_other_content(out: Path, asked: Asked) -> None:
    """Refuse to overwrite files of another evaluation.

    Raises:
        RunError: `out` is a file, or holds files of another evaluation.
    """
    if out.exists() and not out.is_dir():
        raise RunError(f"{out}: is a file; give a new directory")
    there = [name for name in FILES if (out / name).exists()]
    if there and _asked_before(out / FILES[0]) != asked:
        raise RunError(f"{out}: holds {there[0]} of something else; give a new directory")


def _asked_before(path: Path) -> Asked | None:
    with suppress(RunError), reading(path, "give a new directory", RunError):
        return msgspec.json.decode(path.read_bytes(), type=_Earlier).asked
    return None


def write_files(out: Path, evaluation: Evaluation, records: Records) -> None:
    """Write all files to the directory `out`."""
    from virnucpro.evaluation.pictures import (  # noqa: PLC0415 (loads Matplotlib)
        precision_recall_picture,
        reliability_picture,
        roc_picture,
    )

    contents = (
        as_json(evaluation),
        evaluation.to_tsv(),
        roc_picture(evaluation, records),
        precision_recall_picture(evaluation, records),
        reliability_picture(evaluation),
    )
    for name, content in zip(FILES, contents, strict=True):
        write_whole(out / name, content)

"""What a user gives as input, checked before anything is written."""

import os
from collections.abc import Sequence
from pathlib import Path

from virnucpro.errors import InputError
from virnucpro.sequences import SequenceFile
from virnucpro.sequences.reader import STDIN, Kind


def checked_inputs(
    inputs: Sequence[str | os.PathLike[str]] | str | os.PathLike[str], kind: Kind
) -> list[str]:
    """Return inputs as text.

    Args:
        inputs: one or several files, or `-`.
        kind: what their records should be.

    Raises:
        InputError: when there is none, standard input comes twice, or one is missing, empty, of
            another kind, or has a name that cannot be written down.
    """
    given = [inputs] if isinstance(inputs, str | os.PathLike) else list(inputs)
    paths = [os.fspath(path) for path in given]
    if not paths:
        raise InputError("no input: give at least one FASTA or FASTQ file")
    if paths.count(STDIN) > 1:
        raise InputError("standard input (-) can be read only once; give it once")
    unwritable = [path for path in paths if path.encode(errors="replace").decode() != path]
    if unwritable:
        raise InputError(f"{unwritable[0]}: its name is not UTF-8; rename it")
    for path in paths:
        if path == STDIN or Path(path).is_fifo():
            continue
        with SequenceFile(path, kind) as file:
            next(iter(file), None)
    return paths

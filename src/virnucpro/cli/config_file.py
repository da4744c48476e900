"""Writes config.toml: the options of a finished run, with the values used."""

import os
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec
import tomli_w

from virnucpro.errors import RunError
from virnucpro.files import write_once
from virnucpro.prediction.options import share_of_text
from virnucpro.prediction.outputs.paths import CONFIG_FILE
from virnucpro.runs.run import read_run

#: Of a training: the file written at its end, its settings, and the run that computed features.
_TRAINED, _TRAINING, _FEATURES = "training.json", "settings.json", "features"


def keep_config(command: str, options: Mapping[str, tuple[str, object]], out: Path) -> None:
    """Write the file if the run is finished, unless the file exists.

    Args:
        command: name of the command and of the table.
        options: name of each option -> parameter of the command and requested value.
        out: directory of the run.
    """
    used = _used(out, command)
    if used is None:
        return
    table = {}
    for name, (parameter, asked) in options.items():
        value = asked
        if asked is None or asked == "auto" or (name, asked) == ("device", "cuda"):
            value = used.get(parameter, asked)
        if value is not None and value not in ([], ()):
            table[name] = _plain(value)
    if table.get("executor") != "local":
        table |= {"device": options["device"][1]}
    head = f"# virnucpro {version('virnucpro')}; virnucpro {command} --config FILE does it again\n"
    content = head + tomli_w.dumps({command: table}, multiline_strings=False)
    with suppress(UnicodeEncodeError):  # TOML cannot hold a path that is not UTF-8
        write_once(out / CONFIG_FILE, content.encode())


def _used(out: Path, command: str) -> dict[str, object] | None:
    """Return the values that a finished run chose for its options; None if it is not finished."""
    try:
        run = read_run(out)
    except RunError:
        return None
    if run is not None:
        if run.status != "finished" or run.binding.command != command:
            return None
        devices = ",".join(device.name for device in run.devices)
        used = {**run.binding.settings, "precision": run.binding.precision, "device": devices}
        shares = {"prevalence", "max_fdr"} & used.keys()
        return used | {name: share_of_text(used[name]) for name in shares}
    if command != "train" or not (out / _TRAINED).is_file():
        return None
    settings: dict[str, object] = msgspec.json.decode((out / _TRAINING).read_bytes())
    return {**(_used(out / _FEATURES, "features") or {}), **settings}


def _plain(value: object) -> Any:  # noqa: ANN401 (any value of TOML)
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return os.fspath(value) if isinstance(value, os.PathLike) else value

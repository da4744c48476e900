"""Takes values of options from the environment and from a TOML file.

The command line has priority over the environment, the environment over the file, and the file
over the defaults. `--chunk-length` of `predict` is `VIRNUCPRO_PREDICT_CHUNK_LENGTH` in the
environment and `chunk-length` under `[predict]` in the file.
"""

import difflib
import logging
import os
import tomllib
import warnings
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_origin, get_type_hints

import typer
from typer.core import TyperCommand, TyperGroup, TyperOption

from virnucpro.cli.console import SOME_NOT_PROCESSED, STOPPED, leave, say
from virnucpro.errors import InputError, SettingsError, one_line, reading
from virnucpro.system.threads import check_threads

PREFIX = "VIRNUCPRO"
#: The parameter that names the file; it cannot be set in the file.
_FILE = "_config"
#: Base class of all usage errors.
_UsageError: Any = typer.BadParameter.__base__
#: Types of values in the file, in words.
_WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}


class ConfiguredCommand(TyperCommand):
    """A command with options from several sources, which writes `config.toml` into a finished run.

    Attributes:
        prefix: prefix of the names of its environment variables.
    """

    prefix = ""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401 (typer's own)
        """Parse the command line; an error names the variable or the key of an invalid value.

        Raises:
            SettingsError: a value of the environment or of the file is invalid, or a variable with
                the prefix of this command matches no option.
        """
        _refuse_unknown_variables(self)
        try:
            return super().parse_args(ctx, args)
        except typer.BadParameter as error:
            where = None if error.param is None else _source(ctx, error.param)
            if where is None:
                raise
            raise SettingsError(f"{where}: {error.message}") from error

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 (typer's own)
        """Carry out the command and write `config.toml` into a finished run.

        Raises:
            InputError: a file ends early. typer would mistake the `EOFError` for the end of the
                answers to a prompt.
        """
        check_threads()
        if ctx.params.get("quiet"):
            _silence_libraries()
        try:
            returned = super().invoke(ctx)
        except typer.Exit as end:
            if end.exit_code == SOME_NOT_PROCESSED:
                _keep(ctx)
            raise
        except EOFError as error:
            raise InputError(f"a file ends early ({error}); get it again") from error
        except KeyboardInterrupt:
            say("virnucpro: stopped", err=True)
            leave(STOPPED)
        _keep(ctx)
        return returned


def _silence_libraries() -> None:
    """Silence warnings and progress of libraries, also in workers."""
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    os.environ |= {"PYTHONWARNINGS": "ignore", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}


class CommandGroup(TyperGroup):
    """A group of commands; each option has an environment variable."""

    def __init__(self, *args: Any, **attributes: Any) -> None:  # noqa: ANN401 (typer's own)
        super().__init__(*args, **attributes)
        _name_variables(self, PREFIX)

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 (typer's own)
        """Carry out a command; make usage errors printable, whatever they quote."""
        try:
            return super().invoke(ctx)
        except _UsageError as error:
            error.message = one_line(error.message)
            raise


def _name_variables(group: TyperGroup, prefix: str) -> None:
    for name, command in group.commands.items():
        here = f"{prefix}_{name}"
        if isinstance(command, TyperGroup):
            _name_variables(command, here)
        if isinstance(command, ConfiguredCommand):
            command.prefix = f"{here}_".upper().replace("-", "_")
        for option in command.params:
            if isinstance(option, TyperOption):
                option.envvar = f"{here}_{key(option)}".upper().replace("-", "_")
                option.show_envvar = False  # docs/terminal.md explains their names


def _refuse_unknown_variables(command: ConfiguredCommand) -> None:
    known = [option.envvar for option in command.params if isinstance(option, TyperOption)]
    for name in sorted(os.environ):
        if name.startswith(command.prefix) and name not in known:
            close = difflib.get_close_matches(name, map(str, known), 1)
            meant = f"give {close[0]}" if close else f"virnucpro {command.name} -h lists options"
            raise SettingsError(f"{name}: matches no option; unset it, or {meant}")


def key(parameter: Any) -> str:  # noqa: ANN401 (typer's own)
    """Return the key of an option or argument in the file, such as `chunk-length` or `inputs`."""
    if isinstance(parameter, TyperOption):
        return str(max(parameter.opts, key=len).lstrip("-"))
    return str(parameter.name)


def read_config(ctx: typer.Context, value: Path | None) -> Path | None:
    """Use the values of a file as defaults, below the command line and the environment.

    Args:
        ctx: context of the command; the table with the name of the command is read.
        value: the file.

    Raises:
        SettingsError: the file cannot be read, or has a key or value that the command does not
            accept.
    """
    if value is None or ctx.resilient_parsing:
        return value
    table = _table(value, str(ctx.command.name))
    parameters = {key(p): p for p in ctx.command.params if p.name != _FILE}
    hints = get_type_hints(ctx.command.callback)
    ctx.default_map = {}
    for name, given in table.items():
        where = f"{value}: {name} in [{ctx.command.name}]"
        if name not in parameters:
            known = difflib.get_close_matches(name, parameters, 1) or parameters
            raise SettingsError(f"{where}: no such option; give {', '.join(known)}")
        parameter = parameters[name]
        ctx.default_map[str(parameter.name)] = _checked(given, hints[str(parameter.name)], where)
    return value


def _table(path: Path, command: str) -> dict[str, Any]:
    """Return the table of a command from the file."""
    with reading(path, "give --config a file in TOML", SettingsError):
        tables = tomllib.loads(path.read_bytes().decode())
    found = tables.get(command)
    if not isinstance(found, dict):
        raise SettingsError(f"{path}: has no table [{command}]; put the options under that line")
    return found


def _checked(given: object, hint: Any, where: str) -> object:  # noqa: ANN401 (a type)
    """Return a value of the file as the option takes it; refuse a value of the wrong type."""
    wanted = (
        next(x for x in get_args(hint) if x is not NoneType) if NoneType in get_args(hint) else hint
    )
    if get_origin(wanted) is list:
        (each,) = get_args(wanted)
        if isinstance(given, list):
            return [_checked(value, each, where) for value in given]
        raise SettingsError(
            f"{where}: {_shown(given)} is given, but a list is needed: [{_shown(given)}]"
        )
    kind = wanted if wanted in _WORDS else str
    takes: tuple[type, ...] = {float: (int, float), str: (str, int, float)}.get(kind, (kind,))
    if not isinstance(given, takes) or isinstance(given, bool) != (kind is bool):
        raise SettingsError(f"{where}: {_shown(given)} is given, but {_WORDS[kind]} is needed")
    return str(given) if kind is str else given


def _shown(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else repr(value)[:100]


def _source(ctx: Any, parameter: Any) -> str | None:  # noqa: ANN401 (typer's own)
    """Return the variable or key that a value comes from; None for the command line."""
    source = ctx.get_parameter_source(parameter.name)
    if source is not None and source.name == "ENVIRONMENT":
        return str(parameter.envvar)
    if source is not None and source.name == "DEFAULT_MAP":
        return f"{ctx.params[_FILE]}: {key(parameter)} in [{ctx.command.name}]"
    return None


def _keep(ctx: Any) -> None:  # noqa: ANN401 (typer's own)
    """Write `config.toml` into a finished run, with the values used."""
    out = ctx.params.get("out")
    if _FILE not in ctx.params or out is None:
        return
    from virnucpro.cli.config_file import keep_config  # noqa: PLC0415 (loads PyTorch)

    options = {
        key(p): (str(p.name), ctx.params[p.name]) for p in ctx.command.params if p.name != _FILE
    }
    keep_config(str(ctx.command.name), options, Path(out))  # older versions of typer hold text

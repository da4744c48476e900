"""The options of `predict` are the same wherever they are given."""

import inspect
from dataclasses import fields
from typing import get_type_hints

import pytest
from typer.main import get_command

import virnucpro
from virnucpro.cli.app import app
from virnucpro.errors import SettingsError
from virnucpro.prediction.options import (
    PredictKeywords,
    PredictOptions,
    share_of_text,
    share_to_text,
)

NAMES = [field.name for field in fields(PredictOptions)]


def test_keywords_have_the_names_and_types_of_the_options() -> None:
    assert get_type_hints(PredictKeywords) == get_type_hints(PredictOptions)


@pytest.mark.parametrize("function", [virnucpro.predict, virnucpro.predict_samples])
def test_functions_list_the_options_and_their_defaults(function: object) -> None:
    found = inspect.signature(function).parameters  # type: ignore[arg-type]
    assert {name: found[name].default for name in NAMES} == vars(PredictOptions())


def test_the_command_line_has_every_option() -> None:
    command = get_command(app).commands["predict"]  # type: ignore[attr-defined]
    given = {parameter.name: parameter for parameter in command.params}
    assert set(NAMES) <= set(given)
    same = [name for name in NAMES if name != "write"]
    assert {n: given[n].default for n in same} == {n: getattr(PredictOptions(), n) for n in same}


@pytest.mark.parametrize(
    "wrong",
    [{"block_chunks": 0}, {"reads": "sam"}, {"write": ["all"]}, {"max_fdr": 1}, {"executor": "x"}],
)
def test_a_wrong_value_is_refused_without_a_bundle(wrong: dict[str, object]) -> None:
    with pytest.raises(SettingsError):
        PredictOptions(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("share", [None, "auto", 0.01])
def test_shares_are_read_back_from_run_json(share: float | None) -> None:
    assert share_of_text(share_to_text(share)) == share

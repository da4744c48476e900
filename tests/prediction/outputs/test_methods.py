"""The paragraph for a paper's methods."""

import msgspec
import pytest

from virnucpro.prediction.outputs.methods import methods
from virnucpro.prediction.outputs.summary import Summary
from virnucpro.runs.binding import Binding
from virnucpro.runs.devices import Budgets
from virnucpro.runs.run import Environment, RunManifest

SUMMARY = Summary(
    format=1, tables=1, bundle="tiny 1", device="cpu", precision="fp32", records=1300,
    bases=390000, skipped=0, chunks=1300, chunks_unscored=40, open_frames=2000,
    calls={"virus": 1000, "other": 260, "unscored": 40},
    unscored={"no open frame": 38, "not processed": 2}, calibrated=False, prevalence=None,
    prevalence_estimated=False, records_expected_viral=None, problems=[], resumed_records=0,
    packs_cut=0, frames_redone=0, seconds={}, records_per_second=1.0, tokens_per_second=1.0,
    threshold=0.5,
)  # fmt: skip


def paragraph(summary: Summary, bundle: str = "tiny 1", **settings: int | str | bool) -> str:
    chosen: dict[str, int | str | bool] = {
        "chunk_length": 300,
        "frames": "open",
        "max_fdr": "none",
        **settings,
    }
    bound = Binding(
        version="0.1.0", inputs=[], command="predict", bundle=bundle, bundle_sha256="ab" * 32,
        precision="fp16", device="A GPU", torch="2.13.0",
        settings=chosen,
    )  # fmt: skip
    where = Environment("3.12", "Linux", {})
    return methods(RunManifest(1, "finished", bound, where, Budgets(1, 1), "then"), summary)


def test_it_says_what_was_done_in_one_paragraph() -> None:
    assert paragraph(SUMMARY) == (
        "Viral sequences were identified with virnucpro 0.1.0 and the model tiny 1 (SHA-256 "
        "abababababab) among 1,300 records of 390,000 bases. Records were cut into chunks of 300 "
        "bases, each of whose six translations without a stop codon was scored. Scores were "
        "computed in fp16 on A GPU with PyTorch 2.13.0. Records with a score above 0.5 were "
        "called viral; scores were not calibrated. 1,000 records were called virus and 260 other; "
        "40 could not be scored (38 no open frame, 2 not processed)."
    )


def test_a_name_of_a_bundle_steers_no_terminal_that_shows_the_file() -> None:
    assert "model na\\x1b[31mme 1 (SHA" in paragraph(SUMMARY, "na\x1b[31mme 1")


@pytest.mark.parametrize("frames", ["segments", "whole", "all"])
def test_every_way_to_draw_frames_has_words(frames: str) -> None:
    assert "scored" in paragraph(SUMMARY, frames=frames)


@pytest.mark.parametrize(("is_estimated", "said"), [(True, "estimated"), (False, "assumed")])
def test_it_says_how_probabilities_were_used(*, is_estimated: bool, said: str) -> None:
    summary = msgspec.structs.replace(
        SUMMARY, calibrated=True, prevalence=0.0123, prevalence_estimated=is_estimated
    )
    text = paragraph(summary, max_fdr="0.05")
    assert "up to an expected false discovery rate of 0.05;" in text
    assert f"for a prevalence of viruses of 0.0123 ({said}" in text
    assert "score above 0.5" not in text

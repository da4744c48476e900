"""The page: pictures, tables and text in one file that loads nothing else."""

import json
from base64 import b64encode
from collections.abc import Mapping, Sequence
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import jinja2
from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup

from virnucpro.classify.segments import LEAST_CHUNKS
from virnucpro.prediction.report import charts, explanations
from virnucpro.prediction.report.finished_runs import Sample
from virnucpro.prediction.report.run_findings import (
    LISTED,
    ListedRecord,
    ListedRegion,
    Point,
    Spans,
)

_PLACE = Path(__file__).parent
#: Level of the highest heading of the card, below those of the page.
_CARD_LEVEL = 3
#: Stages of a run that follow one another; the others run in parallel during the scoring.
_IN_TURN = ("start-up", "scoring", "tables")

Entry = TypeVar("Entry", ListedRecord, ListedRegion)
#: The points of a track, and the regions on it.
_Drawn: TypeAlias = tuple[tuple[Point, ...], Spans]


def page_of(
    samples: Sequence[Sample], *, methods: str | None = None, damaged: Sequence[str] = ()
) -> bytes:
    """Return the report of one finished run, or of several side by side.

    Args:
        samples: one or more.
        methods: a paragraph for the methods section of a paper.
        damaged: names of samples that are left out, because their files are damaged.
    """
    script, style = ((_PLACE / name).read_text("utf-8") for name in ("page.js", "page.css"))
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_PLACE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"share": explanations.share, "bytes": _bytes, "day": _day}
    listed = _listed({sample.name: sample.found.viral for sample in samples})
    regions = _listed({sample.name: sample.found.regions for sample in samples})
    tracks = _tracks([*(viral for _, viral in listed), *(region for _, region in regions)])
    page = environment.get_template("page.html.j2").render(
        samples=samples,
        one=samples[0] if len(samples) == 1 else None,
        title="Which records are viral" + (f": {samples[0].name}" if len(samples) == 1 else ""),
        verdict=explanations.verdict(samples),
        doubt=explanations.doubt(samples, damaged),
        meanings=explanations.meanings(samples),
        reasons=explanations.REASONS,
        settings={sample.name: explanations.settings(sample) for sample in samples},
        differing=explanations.differing(samples),
        pictures=_pictures(samples),
        listed=listed,
        has=_columns(listed),
        regions=regions,
        least_chunks=LEAST_CHUNKS,
        number_of=tracks,
        tracks=_json([{"points": points, "regions": spans} for points, spans in tracks]),
        cards=_cards(samples),
        methods=methods,
        in_turn=_IN_TURN,
        version=version("virnucpro"),
        script=Markup(script),  # noqa: S704 (this package's own)
        style=Markup(style),  # noqa: S704
        policy=_policy(script, style),
    )
    return page.encode()


def _policy(script: str, style: str) -> str:
    """Return the Content-Security-Policy: this script and this style, and nothing else."""
    of_script, of_style = (
        f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'" for text in (script, style)
    )
    return (
        f"default-src 'none'; script-src {of_script}; style-src {of_style}; "
        "base-uri 'none'; form-action 'none'"
    )


def _pictures(samples: Sequence[Sample]) -> dict[str, Any]:
    """Return the pictures; those without data are left out."""
    steep = any(charts.is_steep(s.found.scores_CB) for s in samples)
    if len(samples) > 1:
        return {
            "steep": steep,
            "samples": charts.samples_picture({s.name: s.summary.calls for s in samples}),
            "scores": {s.name: _scores(s, steep=steep, height=120) for s in samples},
        }
    found = samples[0].found
    drawn: dict[str, Any] = {
        "steep": steep,
        "calls": charts.calls_picture(samples[0].summary.calls),
        "scores": _scores(samples[0], steep=steep),
    }
    if found.lengths_LB.sum() and found.longest > 1.3 * found.shortest:
        drawn["length"] = charts.length_picture(found.lengths_LB)
    if found.gc_GB.sum():
        drawn["gc"] = charts.gc_picture(found.gc_GB)
    return drawn


def _scores(sample: Sample, *, steep: bool, height: int = 190) -> Markup:
    if not sample.found.scores_CB.sum():
        return Markup("<p>No record has a score.</p>")
    return charts.scores_picture(sample.found.scores_CB, steep=steep, height=height)


def _listed(entries: Mapping[str, Sequence[Entry]]) -> list[tuple[str, Entry]]:
    """Return the most confident records or regions of all samples, each with its sample's name."""
    each = max(1, LISTED // len(entries))
    listed = [(name, entry) for name, of_one in entries.items() for entry in of_one[:each]]
    return sorted(listed, key=lambda named: named[1].confidence, reverse=True)


def _columns(listed: Sequence[tuple[str, ListedRecord]]) -> dict[str, bool]:
    """Return which columns of the table are not empty."""
    return {
        name: any(getattr(viral, name) is not None for _, viral in listed)
        for name in ("probability", "fdr", "gc")
    } | {"track": any(viral.track for _, viral in listed)}


def _tracks(entries: Sequence[ListedRecord | ListedRegion]) -> dict[_Drawn, int]:
    """Number the different tracks."""
    drawn = [(entry.track, entry.regions) for entry in entries if entry.track]
    return {track: i for i, track in enumerate(dict.fromkeys(drawn))}


def _json(content: object) -> Markup:
    """Return JSON that cannot end the script element that contains it."""
    text = json.dumps(content, separators=(",", ":"))
    for letter in "<>&":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return Markup(text)  # noqa: S704 (escaped here)


def _cards(samples: Sequence[Sample]) -> dict[str, Markup]:
    """Return the name of each bundle -> its card as HTML, for the cards that are available."""
    texts = {s.manifest.binding.bundle: s.card for s in samples if s.card}
    return {name: _html(text) for name, text in texts.items()}


def _html(text: str) -> Markup:
    """Return Markdown as HTML, without raw HTML and pictures, with headings below the page's."""
    parser = MarkdownIt("commonmark", {"html": False}).enable("table").disable("image")
    tokens = parser.parse(text)
    for token in tokens:
        _lower(token)
    return Markup(parser.renderer.render(tokens, parser.options, {}))  # noqa: S704 (as above)


def _lower(token: Token) -> None:
    if token.type in ("heading_open", "heading_close"):
        token.tag = f"h{min(6, int(token.tag[1]) + _CARD_LEVEL - 1)}"
    if token.type in ("th_open", "td_open"):
        token.attrs.pop("style", None)


def _bytes(count: int) -> str:
    size, unit = float(count), "bytes"
    for larger in ("kB", "MB", "GB", "TB"):
        if size < 1000:
            break
        size, unit = size / 1000, larger
    return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"


def _day(moment: str) -> str:
    """Return a time of run.json for people: date, hour and minute, UTC."""
    return moment[:16].replace("T", " ") + " UTC" if moment else ""

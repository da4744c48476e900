"""The report in a real Chromium: it draws, asks for nothing, and answers keys and fingers."""

import re
import select
import socket
from itertools import pairwise
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

import virnucpro
from made_run import write_regions
from prediction.report.browsing import NEEDS_CHROMIUM, WIDTHS, Scheme, column, opened
from prediction.report.conftest import RunOf
from virnucpro.prediction.outputs.regions import Region

pytestmark = NEEDS_CHROMIUM


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_it_draws_and_fits(browser: Browser, report: Path, width: int, scheme: Scheme) -> None:
    with opened(browser, report, width, scheme) as page:
        pictures = page.query_selector_all("figure svg[role=img]")
        assert len(pictures) == 4
        for picture in pictures:
            box = picture.bounding_box()
            assert box is not None
            assert 250 < box["width"] <= width - 32
            assert picture.get_attribute("aria-label")
        marks = page.eval_on_selector_all(
            "figure svg path[data-tip]",
            "marks => marks.filter(m => m.getBoundingClientRect().height > 0.2).length",
        )
        assert marks > 400
        overflow = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert page.evaluate(overflow) == 0
        page.click("#records button.open")
        page.wait_for_selector(".track rect")
        assert page.locator(".track svg rect").count() > 2
        assert page.evaluate(overflow) == 0


def test_headings_and_names_are_in_order(page: Page) -> None:
    levels = page.eval_on_selector_all("h1, h2, h3, h4, h5, h6", "hs => hs.map(h => +h.tagName[1])")
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert page.get_attribute("html", "lang") == "en"
    unnamed = page.eval_on_selector_all(
        "input, button",
        "all => all.filter(x => !(x.labels?.length || x.textContent.trim())).length",
    )
    assert unnamed == 0
    ids = page.eval_on_selector_all("[id]", "all => all.map(x => x.id)")
    assert len(ids) == len(set(ids))
    targets = page.eval_on_selector_all("nav a, .skip", "all => all.map(x => x.hash.slice(1))")
    assert set(targets) <= set(ids)


def test_headers_sort_the_table(page: Page) -> None:
    assert column(page, "rank") == [str(n) for n in range(1, 26)]
    page.click("#records [data-key=length]")
    lengths = [int(n) for n in column(page, "length")]
    assert lengths == sorted(lengths, reverse=True)
    assert len(set(lengths)) > 5
    assert page.get_attribute("#records th:has([data-key=length])", "aria-sort") == "descending"
    page.click("#records [data-key=length]")
    assert [int(n) for n in column(page, "length")] == sorted(map(int, column(page, "length")))
    page.click("#records [data-key=record]")
    names = column(page, "record")
    assert names == sorted(names, key=lambda s: [int(n) for n in re.findall(r"\d+", s)])
    assert page.get_attribute("#records th:has([data-key=length])", "aria-sort") == "none"


def test_filters_hide_rows(page: Page) -> None:
    page.fill("#filter-text", "CONTIG_1")
    assert all(name.startswith("contig_1") for name in column(page, "record"))
    page.fill("#filter-text", "")
    page.fill("#filter-length", "3000")
    lengths = [int(n) for n in column(page, "length")]
    assert lengths
    assert min(lengths) >= 3000
    page.fill("#filter-length", "")
    page.fill("#filter-score", "0.95")
    assert all(float(score) >= 0.95 for score in column(page, "score"))
    shown = re.match(r"(25 of )?(\d+) shown$", str(page.text_content("#shown")))
    assert shown
    assert 0 < int(shown[2]) < 250
    page.fill("#filter-text", "no such record")
    assert column(page, "rank") == []
    assert page.text_content("#shown") == "none matches"


def test_more_rows_are_shown_when_asked_for(page: Page) -> None:
    page.click("#more")
    assert len(column(page, "rank")) == 75
    while page.is_visible("#more"):
        page.click("#more")
    assert len(column(page, "rank")) == 250
    assert page.text_content("#shown") == "250 shown"


def test_keys_do_what_the_mouse_does(page: Page) -> None:
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.focus("#records [data-key=length]")
    page.keyboard.press("Enter")
    assert page.get_attribute("#records th:has([data-key=length])", "aria-sort") == "descending"
    page.focus("#records button.open")
    page.keyboard.press("Space")
    assert page.get_attribute("#records button.open", "aria-expanded") == "true"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.tagName") == "svg"
    page.keyboard.press("ArrowRight")
    assert str(page.text_content(".track p")).startswith("Bases 0 to 500: score ")
    page.keyboard.press("ArrowRight")
    assert str(page.text_content(".track p")).startswith("Bases 500 to 1,000: score ")


def test_a_track_shows_every_chunk_and_closes_again(page: Page) -> None:
    chunks = int(column(page, "chunks")[0])
    page.click("#records button.open")
    page.wait_for_selector(".track rect")
    heights = page.eval_on_selector_all(
        ".track rect", "all => all.map(r => +r.getAttribute('height'))"
    )
    assert len(heights) == chunks
    assert min(heights) > 0
    page.hover(".track svg", position={"x": 300, "y": 60})
    assert re.match(r"Bases [\d,]+ to [\d,]+: score 0\.\d{3}$", str(page.text_content(".track p")))
    page.click("#records button.open")
    assert not page.is_visible(".track")


def test_marks_say_what_they_are(page: Page) -> None:
    page.hover("#found figure:nth-of-type(2) path[data-tip] >> nth=3")
    assert re.match(r"score 0\.\d\d to 0\.\d\d: [\d,]+ (virus|other)", page.inner_text("#tip"))
    page.hover("h1")
    assert not page.is_visible("#tip")


def test_paper_is_white_and_has_no_controls(browser: Browser, report: Path) -> None:
    with opened(browser, report, scheme="dark") as page:
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 24, 29)"
        page.emulate_media(media="print", color_scheme="dark")
        colour = "getComputedStyle(document.body).backgroundColor"
        assert page.evaluate(colour) == "rgb(255, 255, 255)"
        assert not page.is_visible(".filters")
        assert not page.is_visible("nav")
        assert page.pdf(format="A4").startswith(b"%PDF")


def test_without_scripts_all_is_there_but_the_controls(browser: Browser, report: Path) -> None:
    with opened(browser, report, scripted=False) as page:
        assert page.locator("figure svg path[data-tip]").count() > 400
        assert page.locator("#records tbody tr").count() == 250
        assert not page.is_visible(".filters")


def test_what_is_put_in_does_not_run_and_reaches_nobody(browser: Browser, report: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        page = browser.new_page()
        page.goto(report.as_uri())
        page.evaluate(
            """place => {
                const script = document.createElement("script");
                script.textContent = "window.foreign = true";
                const picture = document.createElement("img");
                picture.onerror = () => window.unseen = true;
                picture.src = place;
                document.body.append(script, picture);
                fetch(place).catch(() => window.refused = true);
            }""",
            f"http://127.0.0.1:{listener.getsockname()[1]}/",
        )
        page.wait_for_function("window.refused && window.unseen")
        assert page.evaluate("window.foreign") is None
        assert select.select([listener], [], [], 0) == ([], [], [])
        page.close()


def test_text_of_the_input_stays_text(browser: Browser, run_of: RunOf) -> None:
    nasty = "</script><img/src=//x.example/i onerror=alert(1)>"
    out = run_of(
        {"record": nasty, "scores": [0.9, 0.8]},
        {"record": "{{7*7}}<b>&amp;'\"", "scores": [0.7]},
        name="<i>&run",
    )
    run_json = (out / "run.json").read_text()
    (out / "run.json").write_text(run_json.replace("reads.fastq.gz", "<script>alert(2)</script>"))
    with opened(browser, virnucpro.report(out)) as page:
        page.click("#records button.open")
        assert nasty in page.inner_text(".track figcaption")
        assert column(page, "record") == [nasty, "{{7*7}}<b>&amp;'\""]
        assert "<i>&run" in page.inner_text("header")
        assert "<script>alert(2)</script>" in page.inner_text("#run")
        assert page.locator("img").count() == 0


def test_several_runs_lie_side_by_side(browser: Browser, run_of: RunOf, tmp_path: Path) -> None:
    runs = [
        run_of({"record": "a1", "scores": [0.9]}, {"record": "a2", "scores": [0.2]}, name="<b>one"),
        run_of({"record": "b1", "scores": [0.99, 0.98]}, name="two"),
    ]
    hosts = run_of({"record": "c1", "scores": [0.1] * 12}, name="three")
    write_regions(hosts, (1, Region("c1", 500, 3000, 0.9, 5)))
    report = virnucpro.report([*runs, hosts], tmp_path / "all.html")
    for width in WIDTHS:
        with opened(browser, report, width) as page:
            assert page.locator(".samples tbody tr").count() == 3
            assert "<b>one" in page.inner_text(".samples")
            assert page.locator("#found figure svg[role=img]").count() == 4
            assert column(page, "sample") == ["two", "<b>one"]
            assert column(page, "sample", "region-list") == ["three"]
            counts = page.locator(".samples tbody td:nth-last-child(2)").all_inner_texts()
            assert counts == ["\u2013", "\u2013", "1"]
            assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_it_opens_at_once(browser: Browser, report: Path) -> None:
    assert report.stat().st_size < 5_000_000
    with opened(browser, report) as page:
        timing = page.evaluate("performance.getEntriesByType('navigation')[0].loadEventEnd")
        assert 0 < timing < 2000

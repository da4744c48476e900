"""Viral regions in the report in a real Chromium."""

import pytest
from playwright.sync_api import Browser, Page

import virnucpro
from made_run import write_regions
from prediction.report.browsing import NEEDS_CHROMIUM, WIDTHS, column, opened
from prediction.report.conftest import RunOf
from virnucpro.prediction.outputs.regions import Region

pytestmark = NEEDS_CHROMIUM


def test_regions_have_a_table_of_their_own(page: Page) -> None:
    regions = "region-list"
    assert len(column(page, "rank", regions)) == 25
    page.click("#regions [data-key=start]")
    starts = [int(start) for start in column(page, "start", regions)]
    assert starts == sorted(starts)
    page.click("#regions .more")
    assert len(column(page, "rank", regions)) == 75
    page.fill("#region-filter-length", "5000")
    assert min(int(n) for n in column(page, "length", regions)) >= 5000
    assert "shown" in str(page.text_content("#region-shown"))
    page.fill("#region-filter-text", "no such record")
    assert column(page, "rank", regions) == []
    assert len(column(page, "rank")) == 25
    assert page.text_content("#shown") == "25 of 250 shown"


def test_regions_are_shaded(browser: Browser, run_of: RunOf) -> None:
    out = run_of(
        {"record": "host", "scores": [0.1] * 8 + [0.9] * 6 + [0.1] * 8},
        {"record": "<b>phage", "scores": [0.2] * 5 + [0.9] * 15},
    )
    write_regions(
        out, (1, Region("host", 4000, 7000, 0.9, 6)), (1, Region("host", 8000, 9000, 0.6, 2)),
        (2, Region("<b>phage", 2500, 10_000, 0.8, 15)),
    )  # fmt: skip
    report = virnucpro.report(out)
    for width in WIDTHS:
        with opened(browser, report, width) as page:
            assert "3 viral regions lie inside records" in page.inner_text("h1")
            page.click("#region-list tbody tr:first-child button.open")
            assert "4,000 to 7,000" in page.inner_text("#regions .track p")
            page.wait_for_selector("#regions .track rect.virus")
            plot, *_ = page.query_selector_all("#regions .track svg")
            shaded = [rect.bounding_box() for rect in plot.query_selector_all("rect.region")]
            drawn = plot.query_selector_all("rect.virus")
            first, last = drawn[0].bounding_box(), drawn[-1].bounding_box()
            assert len(shaded) == 2
            assert shaded[0]
            assert first
            assert last
            assert shaded[0]["x"] == pytest.approx(first["x"], abs=2)
            end = last["x"] + last["width"]
            assert shaded[0]["x"] + shaded[0]["width"] == pytest.approx(end, abs=2)
            page.click("#records button.open")
            page.wait_for_selector("#viral .track rect.virus")
            assert page.locator("#viral .track rect.region").count() == 1
            assert column(page, "record", "region-list") == ["host", "<b>phage", "host"]
            assert page.evaluate("document.documentElement.scrollWidth") <= width

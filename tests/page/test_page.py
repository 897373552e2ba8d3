"""The page: everything is there, nothing of it acts, and nothing comes from elsewhere."""

from __future__ import annotations

import base64
import re
from html.parser import HTMLParser

import pytest
import torch
from record_fixtures import RECIPE, intervention, png, report

from steerlab.page import page
from steerlab.page.pieces import cell, duration, moment, number, text
from steerlab.report import Evidence, Plot, Report
from steerlab.stamps import Stamp

STAMP = Stamp(
    "finished", "2026-11-21T18:27:38+00:00", "steerlab run x.toml", 7, 83.4, versions={"torch": "2.6"}
)
VOID = {"meta", "img"}


class Read(HTMLParser):
    """Tags, attributes and texts of a page whose tags all close in order."""

    def __init__(self, html: str) -> None:
        HTMLParser.__init__(self, convert_charrefs=True)
        self.open, self.tags, self.attributes, self.texts = [], [], [], []
        self.feed(html)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attributes: list) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attributes]
        self.open += [] if tag in VOID else [tag]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts += [data] if "style" not in self.open else []

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.texts).split())


def test_all_of_a_report_is_on_its_page():
    read = Read(page(STAMP, report(), figures={"grid 0": png(20, 10)}, recipe=RECIPE))
    for words in (
        *("What do heads do?", "Each zeroed alone.", "head 9.5 matters", "0.15, mean of 3 (0.1 to 0.2)"),
        *("0.9 nats", "1e-06", "41.5 × the median", "zero the strongest", "without head 1.1", "MIT"),
        *(
            "blocks.1.heads.1: Zero()",
            'sl.load_intervention("report/interventions/zero-the-strongest.steer")',
        ),
        *("fired 3 times, 21 tokens", "steerlab run x.toml", 'id = "zoo:smollm2"', "torch 2.6", "seed 7"),
        *("21 November 2026, 18:27 UTC", "1 min 23 s", "LlamaForCausalLM", "finished"),
    ):
        assert words in read.words, words
    assert read.tags.count("h1") == 1 and read.tags.count("h2") == 6


HOSTILE = "</style><script>alert(1)</script><img src=//x.example/a onerror=go() ' \" &amp; ]]> <!-- {name}"


def test_hostile_texts_are_shown_and_do_nothing():
    count = 0

    def text_of() -> str:
        nonlocal count
        count += 1
        return HOSTILE.replace("{name}", f"n{count}n")

    plot = Plot("head grid", "t" + text_of(), text_of())
    nasty = Report(
        text_of(),
        text_of(),
        {plot.table: {text_of(): [text_of()]}},
        {text_of(): plot},
        {text_of(): intervention(text_of())},
        (Evidence(text_of(), "observed", 1.0, (0.5,), 0.1, text_of()),),
        (text_of(),),
    )
    stamp = Stamp("failed", text_of(), text_of(), 0, 1.0, text_of(), {text_of(): text_of()}, {"x": text_of()})
    html = page(stamp, nasty, figures={name: text_of() for name in nasty.plots}, recipe=text_of())
    read = Read(html)
    assert not {"script", "iframe", "link", "object", "a", "base", "form"} & set(read.tags)
    assert "img" not in read.tags and read.tags.count("style") == 1
    assert not [name for _, name, _ in read.attributes if name.startswith("on")]
    shown = {int(one) for one in re.findall(r"n(\d+)n", read.words)}
    unseen = set(range(1, count + 1)) - shown  # the key of the plot is no word of the page
    assert len(unseen) == 1 and read.words.count("<script>alert(1)</script>") >= count - 1
    assert "script>" not in html.replace("&lt;script&gt;", "").replace("&lt;/script&gt;", "")


def test_nothing_comes_from_elsewhere():
    html = page(STAMP, report(figures=2), figures={"grid 0": png(20, 10), "grid 1": b"<svg></svg>"})
    read = Read(html)
    sources = [
        value for _, name, value in read.attributes if name in ("src", "href", "srcset", "action", "data")
    ]
    assert [one.partition(",")[0] for one in sources] == [
        *("data:image/png;base64", "data:image/svg+xml;base64")
    ]
    assert base64.b64decode(sources[0].partition(",")[2]) == png(20, 10)
    assert ("img", "width", "20") in read.attributes and ("img", "height", "10") in read.attributes
    style = re.search(r"<style>(.*)</style>", html, re.S)[1]
    assert "url(" not in style and "@import" not in style
    assert (
        "meta",
        "content",
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'",
    ) in read.attributes


def test_long_tables_are_cut_with_a_note_and_folded():
    def sized(rows: int) -> Report:
        return Report("t", tables={"t": {"a": torch.arange(rows), "b": [f"row {i}." for i in range(rows)]}})

    for rows, shown, is_open, note in ((12, 12, 1, 0), (40, 40, 0, 0), (4100, 40, 0, 1)):
        read = Read(page(STAMP, sized(rows)))
        assert read.tags.count("tr") == shown + 1
        assert ("details", "open", None) in read.attributes if is_open else "details" in read.tags
        assert sum(name == "open" for _, name, _ in read.attributes) == is_open
        assert ("The first 40 of 4,100 rows" in read.words) == bool(note)
        assert f"row {shown - 1}." in read.words and f"row {shown}." not in read.words
    assert "1 row, 2 columns" in Read(page(STAMP, sized(1))).words


@pytest.mark.parametrize(
    "status, title", [("failed", "A run that failed"), ("running", "A run that has not ended")]
)
def test_a_run_without_a_report_has_a_page(status, title):
    read = Read(page(Stamp(status, "", reason="no <memory>"), None, recipe=RECIPE))
    assert title in read.words and "no <memory>" in read.words and "budget = 0.5" in read.words
    assert read.tags.count("h2") == 1


def test_texts_that_no_file_can_hold_become_marks():
    html = page(STAMP, Report("a\ud800b\x00c\x1b[31m\x85d"))
    assert "a?b\N{REPLACEMENT CHARACTER}c\N{REPLACEMENT CHARACTER}[31m\N{REPLACEMENT CHARACTER}d" in html
    assert html.encode("utf-8") and text("a\r\nb\tc\rd") == "a\nb\tc\N{REPLACEMENT CHARACTER}d"


@pytest.mark.parametrize(
    "value, shown",
    [
        (torch.tensor(0.123456), "0.1235"),
        (torch.tensor(-12), "−12"),
        (torch.tensor(123456789), "123456789"),
        (torch.tensor(True), "yes"),
        (torch.zeros(2, 3), "[2 × 3]"),
        (1e-12, "1e-12"),
        (float("-inf"), "−∞"),
        (float("nan"), "NaN"),
        (None, ""),
        ("a<b", "a&lt;b"),
        ("x" * 401, "x" * 400 + " …"),
        ([1, 2], "[1, 2]"),
    ],
)
def test_cells(value, shown):
    assert cell(value) == shown


def test_times_and_numbers_are_written_for_people():
    assert [duration(s) for s in (None, 0.1234, 59.2, 119.7, 7325, float("inf"))] == [
        *("", "0.123 s", "59.2 s", "2 min 0 s", "2 h 2 min", "")
    ]
    assert moment("2026-01-02T03:04:05+02:00") == "2 January 2026, 01:04 UTC"
    assert moment("yesterday") == "yesterday"
    assert moment("0001-01-01T00:00:00+23:00") == "0001-01-01T00:00:00+23:00"
    assert number(2.50000) == "2.5" and number(-0.5) == "−0.5"

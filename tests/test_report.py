"""Reports: saved and loaded they say the same, draw the same, and their interventions do the same."""

from __future__ import annotations

import json

import pytest
import torch
from conftest import build

import steerlab as sl
from steerlab.errors import SteerlabError
from steerlab.report import Evidence, Plot, Report, slug
from steerlab.store import made_on


def report() -> Report:
    lm = build("llama").model
    heads = {
        "block": torch.tensor([0, 0, 1, 1]),
        "head": torch.tensor([0, 1, 0, 1]),
        "effect": torch.tensor([0.1, 0.4, 0.2, 0.9]),
        "site": ["blocks.0.heads.0", "blocks.0.heads.1", "blocks.1.heads.0", "blocks.1.heads.1"],
    }
    doses = {
        "strength": torch.tensor([-1.0, 0.0, 1.0]),
        "score": torch.tensor([0.1, 0.5, 0.9]),
        "score random 0": torch.tensor([0.5, 0.5, 0.4]),
    }
    pictures = {
        "before": torch.zeros(2, 4, 4, 3),
        "after": torch.ones(2, 4, 4, 3),
        "title": ["seed 0", "seed 1"],
    }
    maps = {"image": torch.zeros(1, 8, 8, 3), "norm": torch.rand(1, 2, 2)}
    return Report(
        "What do heads do?",
        "each zeroed alone",
        {"heads": heads, "doses": doses, "pictures": pictures, "maps": maps},
        {
            "grid": Plot("head grid", "heads", "effect of each head", {"value": "effect", "label": "KL"}),
            "doses": Plot("dose response", "doses", "score", {"x": "strength", "y": "score"}),
            "pictures": Plot("pictures", "pictures", "before and after", {"changes": "after"}),
            "maps": Plot("maps", "maps", "norms", {"maps": "norm"}),
        },
        {"zero the strongest": made_on(lm, {"blocks.1.heads.1": sl.Zero()}, "without head 1.1")},
        (
            Evidence("head 1.1 matters", "intervened", 0.9, (0.1, 0.2), 0.0, "nats"),
            Evidence("nothing divides", "observed", float("inf"), (float("nan"),)),
        ),
        ("blocks.1.heads.1 Zero() fired 1",),
    )


def test_a_loaded_report_is_the_report(tmp_path):
    ours = report()
    again = Report.load(ours.save(tmp_path / "r"))
    assert str(again) == str(ours) and again.receipts == ours.receipts
    assert again.plots == ours.plots and again.evidence[0] == ours.evidence[0]
    for name, table in ours.tables.items():
        for column, values in table.items():
            kept = again.tables[name][column]
            same = torch.equal(kept, values) if isinstance(values, torch.Tensor) else kept == values
            assert same, (name, column)
    lm, inputs = build("llama").model, build("llama").tiny.inputs
    logits = []
    for one in (ours, again):
        with lm.edit(one.interventions["zero the strongest"]):
            logits.append(lm.logits(inputs))
    assert torch.equal(*logits) and not torch.equal(logits[0], lm.logits(inputs))


def test_figures_are_drawn_from_the_saved_report_alone(tmp_path):
    ours = report()
    again = Report.load(ours.save(tmp_path / "r"))
    first, second = ours.figures(), again.figures()
    assert list(first) == list(second) == ["grid", "doses", "pictures", "maps"]
    for name in first:
        for figure, where in ((first[name], "a.png"), (second[name], "b.png")):
            sl.figures.save(figure, tmp_path / where)
        assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    lines = {line.get_label() for line in second["doses"].axes[0].lines}
    assert {"edit", "random", "base (strength 0)"} <= lines


def test_evidence_says_its_rung_and_stands_beside_its_controls():
    shown = str(report().evidence[0])
    assert shown == "[intervened] head 1.1 matters: 0.9 nats (controls 0.1 to 0.2, floor 0)"
    with pytest.raises(SteerlabError, match="did you mean 'observed'"):
        Evidence("x", "observd", 1.0)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Report("t", tables={"a": {"x": [1], "y": [1, 2]}}), "its columns differ in length"),
        (
            lambda: Report("t", interventions={"a b": None, "A-b": None}),
            "two interventions would be one file",
        ),
        (lambda: Report("t", plots={"p": Plot("maps", "a", "t")}), "draws a table 'a' that the report lacks"),
        (
            lambda: Report("t", tables={"a": {"x": [1]}}, plots={"p": Plot("mapz", "a", "t")}).figures(),
            "no figure of kind 'mapz'; did you mean 'maps'",
        ),
        (
            lambda: Report("t", tables={"a": {"x": [1]}}, plots={"p": Plot("maps", "a", "t")}).figures(),
            "figure 't': it needs 'maps'",
        ),
    ],
)
def test_what_does_not_fit_is_said(make, says):
    with pytest.raises(SteerlabError, match=says):
        make()


BROKEN = ("version", "evidence", "tables", "interventions", "plots", "title", "receipts", "names", "texts")


def broken(content: dict, key: str) -> dict:
    changes = {
        "version": {"version": 7},
        "evidence": {"evidence": [{"claim": "x"}]},
        "tables": {"tables": {"no": {"such": None}}},
        "interventions": {"interventions": {"zero the strongest": "../../elsewhere.steer"}},
        "title": {"title": None, "receipts": 3},
        "receipts": {"receipts": None},
        "names": {"interventions": "abc"},
        "texts": {"evidence": "abc"},
        "plots": {"plots": {"grid": {"kind": "maps", "code": "import os"}}},
    }
    return content | changes[key]


@pytest.mark.parametrize("key", BROKEN)
def test_a_file_that_is_no_report_is_refused(key, tmp_path):
    folder = report().save(tmp_path / "r")
    content = json.loads((folder / "report.json").read_text())
    (folder / "report.json").write_text(json.dumps(broken(content, key)))
    with pytest.raises(SteerlabError, match="is no report|is not what a report holds|points at"):
        Report.load(folder)


def test_slugs_are_file_names():
    assert slug("Silence no-op heads!") == "silence-no-op-heads" and slug("??") == "unnamed"

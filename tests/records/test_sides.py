"""Two records side by side: all evidence, and of the runs exactly what differs."""

from __future__ import annotations

import json

import pytest
from record_fixtures import RECIPE, report

from steerlab.records import Record, compare
from steerlab.report import Evidence, Report


@pytest.fixture
def record(tmp_path):
    def made(name: str, recipe: str = RECIPE, seed: int = 0, answer: Report | None = None) -> Record:
        one = Record.begin(tmp_path / name, recipe, seed=seed)
        one.finish(answer or Report("heads", evidence=report().evidence[:1]))
        return Record.load(tmp_path / name)

    return made


def rows(first: Record, second: Record) -> list[tuple[str, ...]]:
    table = compare(first, second)
    assert list(table) == ["part", "name", "first", "second"]
    return list(zip(*table.values(), strict=True))


NUMBERS = "[intervened] 0.9 nats (controls 0.1 to 0.2, floor 1e-06)"


def test_equal_records_differ_in_nothing(record):
    assert rows(record("a"), record("b")) == [("evidence", "head 9.5 matters", NUMBERS, NUMBERS)]


def test_the_evidence_is_held_together_by_its_claim(record):
    more = (Evidence("new: with a colon", "observed", 2.0), *report(effect=0.3).evidence[:1])
    found = rows(record("a"), record("b", answer=Report("heads", evidence=more)))
    assert found == [
        ("evidence", "head 9.5 matters", NUMBERS, NUMBERS.replace("0.9", "0.3")),
        ("evidence", "new: with a colon", "", "[observed] 2"),
    ]
    twice = Report("heads", evidence=report().evidence[:1] * 2)
    assert [row[1] for row in rows(record("c", answer=twice), record("d", answer=twice))] == [
        *("head 9.5 matters", "head 9.5 matters (2)")
    ]


def test_recipes_differ_by_key_whatever_their_order(record):
    other = '[[analysis]]\nbudget = 0.25\nat = "blocks.*.heads"\nkind = "Ablate"\n'
    other += '[model]\nid = "zoo:smollm2"\nx = [1]\n'
    found = rows(record("a"), record("b", other, seed=3))
    assert [row for row in found if row[0] != "evidence"] == [
        ("run", "seed", "0", "3"),
        ("recipe", "analysis[0].budget", "0.5", "0.25"),
        ("recipe", "model.x", "", "[1]"),
    ]


def test_recipes_that_are_no_toml_differ_by_line(record):
    found = rows(record("a", "same\nx =\n"), record("b", "same\ny =\n"))
    assert [row for row in found if row[0] == "recipe"] == [("recipe", "line 2", "x =", "y =")]


def test_versions_and_unfinished_runs_are_seen(record, tmp_path):
    first, _ = record("a"), record("b")
    stamp = json.loads((tmp_path / "b" / "record.json").read_text())
    stamp["versions"]["torch"] = "1.0"
    stamp["platform"]["cores"] = "128"
    stamp |= {"status": "failed", "reason": "out of memory"}
    (tmp_path / "b" / "record.json").write_text(json.dumps(stamp))
    ours = first.stamp
    assert rows(first, Record.load(tmp_path / "b")) == [
        ("run", "status", "finished", "failed"),
        ("run", "reason", "", "out of memory"),
        ("evidence", "head 9.5 matters", NUMBERS, ""),
        ("versions", "torch", ours.versions["torch"], "1.0"),
        ("machine", "cores", ours.platform["cores"], "128"),
    ]

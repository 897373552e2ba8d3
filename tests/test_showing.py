"""What `show` and `compare` print: the words of the record, whole, and none of them as a command."""

from __future__ import annotations

import webbrowser

import pytest
from record_fixtures import RECIPE, report

from steerlab import showing
from steerlab.errors import SteerlabError
from steerlab.records import Record
from steerlab.report import Evidence, Report


@pytest.fixture(autouse=True)
def wide(monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")


def finished(folder, answer: Report, **more) -> Record:
    record = Record.begin(folder, RECIPE, command="steerlab run heads.toml " + "--set a=b " * 30, **more)
    record.finish(answer)
    return record


def test_show_prints_what_was_found_and_where_it_is(tmp_path, capsys):
    record = finished(tmp_path / "r", report(), seed=11)
    showing.show(tmp_path / "r")
    printed = capsys.readouterr().out
    for words in (
        *("What do heads do?", "finished", "[intervened] head 9.5 matters", "0.9 nats (controls 0.1 to 0.2"),
        *("[observed] nothing divides", "heads  60 rows", "zero the strongest  without head 1.1"),
        *(str(tmp_path / "r" / "figures" / "grid-0.png"), record.stamp.command, str(record.page), "11"),
    ):
        assert words in printed, words


def test_words_of_a_record_command_neither_rich_nor_the_terminal(tmp_path, capsys):
    nasty = "[bold]x[/bold] [/] \x1b[31mred\x07"
    finished(tmp_path, Report(nasty, nasty, evidence=(Evidence(nasty, "observed", 1.0, unit=nasty),)))
    showing.show(tmp_path)
    showing.compare(tmp_path, tmp_path)
    printed = capsys.readouterr().out
    assert printed.count("[bold]x[/bold] [/] \N{REPLACEMENT CHARACTER}[31mred\N{REPLACEMENT CHARACTER}") >= 5
    assert "\x1b" not in printed and "\x07" not in printed


def test_show_tells_why_a_run_has_no_answer(tmp_path, capsys):
    Record.begin(tmp_path, RECIPE).fail("the data are gone")
    showing.show(tmp_path)
    printed = capsys.readouterr().out
    assert "failed: the data are gone" in printed and "report.html" in printed
    with pytest.raises(SteerlabError, match="holds no record"):
        showing.show(tmp_path.parent)


def test_the_page_is_opened_on_demand(tmp_path, monkeypatch):
    opened = []
    monkeypatch.setattr(webbrowser, "open", lambda where: opened.append(where) or True)
    monkeypatch.chdir(tmp_path)
    record = Record.begin("r", RECIPE)
    with pytest.raises(SteerlabError, match="r has no page: its run is running"):
        showing.show("r", browser=True)
    record.finish(Report("t"))
    showing.show("r")
    assert opened == []
    showing.show("r", browser=True)
    assert opened == [(tmp_path / "r" / "report.html").as_uri()]
    monkeypatch.setattr(webbrowser, "open", lambda where: False)
    with pytest.raises(SteerlabError, match="no browser here; open .*report.html"):
        showing.show("r", browser=True)


def test_compare_prints_both_sides(tmp_path, capsys):
    for name, effect, seed in (("a", 0.9, 0), ("b", 0.25, 5)):
        answer = Report("t", evidence=report(effect=effect).evidence[:1])
        finished(tmp_path / name, answer, seed=seed)
    showing.compare(tmp_path / "a", tmp_path / "b")
    lines = capsys.readouterr().out.splitlines()
    (seed,) = [line.split() for line in lines if line.startswith("seed")]
    (found,) = [line for line in lines if line.startswith("head 9.5 matters")]
    assert seed == ["seed", "0", "5"] and found.index("0.9 nats") < found.index("0.25 nats")
    assert "recipe" not in [line.strip() for line in lines]


def test_two_equal_records_without_evidence_say_so(tmp_path, capsys):
    for name in "ab":
        finished(tmp_path / name, Report("t"))
    showing.compare(tmp_path / "a", tmp_path / "b")
    assert "do not differ" in capsys.readouterr().out

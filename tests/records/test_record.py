"""Records: whole when they say so, honest when the run ended otherwise, and never overwritten by accident."""

from __future__ import annotations

import getpass
import json
import os
import signal
import socket
from pathlib import Path

import pytest
import torch
from PIL import Image
from record_fixtures import RECIPE, report

import steerlab as sl
from steerlab.errors import SteerlabError
from steerlab.records import Record
from steerlab.records.writing import file_names, remove, whole_folder
from steerlab.report import Plot, Report

FILES = ["figures", "recipe.toml", "record.json", "report", "report.html"]


def begin(folder: Path, **more) -> Record:
    return Record.begin(folder, RECIPE, seed=7, command="steerlab run heads.toml", **more)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def status(folder: Path) -> str:
    return json.loads((folder / "record.json").read_text())["status"]


def test_a_finished_record_is_read_as_it_was_written(tmp_path):
    folder, ours = tmp_path / "runs" / "heads", report()
    with begin(folder) as record:
        record.finish(ours)
    assert names(folder) == FILES
    again = Record.load(folder)
    assert again.stamp == record.stamp and again.recipe == RECIPE
    assert (again.stamp.status, again.stamp.seed, again.stamp.reason) == ("finished", 7, "")
    assert again.stamp.command == "steerlab run heads.toml"
    assert again.stamp.versions["torch"] == torch.__version__.partition("+")[0]
    assert again.stamp.versions["steerlab"] == sl.__version__
    assert str(again.report()) == str(ours)
    (picture,) = again.figures().values()
    with Image.open(picture) as opened:
        assert min(opened.size) > 100
    assert "What do heads do?" in again.page.read_text(encoding="utf-8")


def test_the_lines_on_the_page_load_the_intervention(tmp_path, monkeypatch):
    with begin(tmp_path / "r") as record:
        record.finish(report())
    line = "report/interventions/zero-the-strongest.steer"
    assert f"sl.load_intervention(&quot;{line}&quot;)" in record.page.read_text(encoding="utf-8")
    monkeypatch.chdir(record.folder)
    assert repr(sl.load_intervention(line)) == repr(report().interventions["zero the strongest"])


def test_while_it_runs_a_record_says_so(tmp_path):
    with begin(tmp_path / "r") as record:
        assert Record.load(tmp_path / "r").stamp == record.stamp
        assert record.stamp.status == "running" and record.stamp.seconds is None
        with pytest.raises(SteerlabError, match="has no report: its run is running"):
            record.report()
        record._began -= 100
        record.finish(report())
    assert 100 <= Record.load(tmp_path / "r").stamp.seconds < 200
    for end in (lambda: record.finish(report()), lambda: record.fail("late")):
        with pytest.raises(SteerlabError, match="the record is finished already"):
            end()


@pytest.mark.parametrize(
    "ends, says",
    [
        (KeyboardInterrupt(), ("interrupted", "interrupted from the keyboard")),
        (ValueError("shape (3,)"), ("failed", "ValueError: shape (3,)")),
        (SteerlabError("no such site"), ("failed", "no such site")),
        (SystemExit(3), ("failed", "SystemExit: 3")),
    ],
)
def test_a_run_that_breaks_leaves_a_record_that_says_why(tmp_path, ends, says):
    with pytest.raises(type(ends)), begin(tmp_path):
        raise ends
    again = Record.load(tmp_path)
    assert (again.stamp.status, again.stamp.reason) == says
    assert again.stamp.seconds >= 0 and says[1] in again.page.read_text(encoding="utf-8")
    assert names(tmp_path) == ["recipe.toml", "record.json", "report.html"]


def test_control_c_leaves_a_record(tmp_path):
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell in the background ignores it
    try:
        with pytest.raises(KeyboardInterrupt), begin(tmp_path):
            os.kill(os.getpid(), signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)
    assert status(tmp_path) == "interrupted"


def test_a_run_without_an_answer_failed(tmp_path):
    with begin(tmp_path):
        pass
    assert Record.load(tmp_path).stamp.reason == "it ended without a report"
    record = begin(tmp_path)
    record.fail("the data are gone")
    assert Record.load(tmp_path).stamp.reason == "the data are gone"


def test_a_record_names_neither_the_machine_nor_its_places(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home" / "somebody"))
    with pytest.raises(FileNotFoundError), begin(tmp_path / "r"):
        raise FileNotFoundError(f"{Path.home()}/weights.pt and {Path.cwd()}/data.csv")
    record = Record.load(tmp_path / "r")
    assert record.stamp.reason == "FileNotFoundError: ~/weights.pt and ./data.csv"
    for file in ("record.json", "report.html"):
        text = (tmp_path / "r" / file).read_text()
        private = {socket.gethostname(), str(Path.cwd()), str(tmp_path)}
        private |= {getpass.getuser()} - {"root"}  # which is also a word
        assert not [word for word in private if word in text]


def test_a_finished_record_gives_way_only_when_told(tmp_path):
    folder = tmp_path / "r"
    begin(folder).finish(report())
    (folder / "notes.txt").write_text("mine")
    before = (folder / "record.json").read_bytes()
    with pytest.raises(SteerlabError, match="holds a finished record of 20.*may be overwritten"):
        begin(folder)
    assert (folder / "record.json").read_bytes() == before and names(folder) == sorted([*FILES, "notes.txt"])
    record = begin(folder, overwrite=True)
    # nothing of the old answer is left
    assert names(folder) == [".running", "notes.txt", "recipe.toml", "record.json"]
    record.finish(Report("another"))
    assert Record.load(folder).report().title == "another" and not Record.load(folder).figures()


def test_an_unfinished_record_is_begun_again_and_other_files_stay(tmp_path):
    begin(tmp_path)
    (tmp_path / "progress").mkdir()
    (tmp_path / "report.part").mkdir()
    begin(tmp_path).finish(report())
    assert names(tmp_path) == sorted([*FILES, "progress"])


def test_files_that_no_record_wrote_are_left_alone(tmp_path):
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "holiday.png").write_bytes(b"mine")
    with pytest.raises(SteerlabError, match="holds figures that no record wrote"):
        begin(tmp_path, overwrite=True)
    assert names(tmp_path) == ["figures"]
    (tmp_path / "file").write_text("")
    with pytest.raises(SteerlabError, match="cannot write to the folder"):
        begin(tmp_path / "file" / "r")


def test_an_answer_that_cannot_be_written_is_no_finished_record(tmp_path, monkeypatch):
    def full(self: Report, folder: Path) -> None:
        (folder / "half").write_text("")
        raise OSError("no space left")

    monkeypatch.setattr(Report, "save", full)
    with pytest.raises(OSError), begin(tmp_path) as record:
        record.finish(report())
    assert status(tmp_path) == "failed" and names(tmp_path) == ["recipe.toml", "record.json", "report.html"]


def test_killed_before_the_last_write_it_is_not_finished(tmp_path, monkeypatch):
    record = begin(tmp_path)
    monkeypatch.setattr(Record, "_stamp", lambda self: None)  # as if the process were gone by then
    record.finish(report())
    assert names(tmp_path) == FILES and status(tmp_path) == "running"


def test_a_figure_that_cannot_be_drawn_costs_nothing_else(tmp_path):
    plots = {"good": report().plots["grid 0"], "bad": Plot("maps", "heads", "maps", {"maps": "effect"})}
    with begin(tmp_path) as record:
        record.finish(Report("two figures", tables=report().tables, plots=plots))
    assert list(Record.load(tmp_path).figures()) == ["good"]
    html = record.page.read_text(encoding="utf-8")
    assert html.count("<img") == 1 and "This figure is missing: figure &#x27;maps&#x27;: it needs" in html


GOOD = {
    **{"format": "steerlab record", "version": 1, "status": "failed", "started": "2026-01-01T00:00:00+00:00"},
    **{"command": "", "seed": 1, "seconds": 2.0, "reason": "", "versions": {}, "platform": {}},
}


@pytest.mark.parametrize(
    "change, says",
    [
        (
            {"version": 2},
            "reads format 'steerlab record', version 1, not .*version 2",
        ),
        ({"format": None}, "not format None"),
        ({"status": "finishd"}, "did you mean 'finished'"),
        ({"seed": "many"}, "is not what a record holds"),
        ({"seed": float("inf")}, "is not what a record holds"),
        ({"seconds": []}, "is not what a record holds"),
        ({"versions": ["torch"]}, "is not what a record holds"),
    ],
)
def test_a_broken_stamp_is_an_error(tmp_path, change, says):
    (tmp_path / "recipe.toml").write_text("")
    (tmp_path / "record.json").write_text(json.dumps(GOOD))
    assert Record.load(tmp_path).stamp.seed == 1
    (tmp_path / "record.json").write_text(json.dumps(GOOD | change))
    with pytest.raises(SteerlabError, match=says):
        Record.load(tmp_path)


def test_what_is_no_record_is_an_error(tmp_path):
    for folder, says in ((tmp_path, "holds no record"), (tmp_path / "x", "no such file or folder")):
        with pytest.raises(SteerlabError, match=says):
            Record.load(folder)
    (tmp_path / "record.json").write_text(json.dumps(GOOD))
    with pytest.raises(SteerlabError, match=r"recipe\.toml cannot be read"):
        Record.load(tmp_path)
    (tmp_path / "recipe.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(SteerlabError, match=r"recipe\.toml cannot be read"):
        Record.load(tmp_path)


def test_file_names_are_safe_and_differ():
    found = file_names(["Head grid", "head-grid", "../../etc", "äöü", "ß", "HEAD grid"])
    assert list(found.values()) == [
        *("head-grid.png", "head-grid-2.png", "etc.png"),
        *("unnamed.png", "unnamed-2.png", "head-grid-3.png"),
    ]


def test_folders_appear_whole_and_links_are_not_followed(tmp_path):
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "old").write_text("")
    with pytest.raises(RuntimeError), whole_folder(kept) as part:
        (part / "new").write_text("")
        raise RuntimeError
    assert names(tmp_path) == ["kept"] and names(kept) == ["old"]
    with whole_folder(kept) as part:
        (part / "new").write_text("")
    assert names(kept) == ["new"]
    (tmp_path / "link").symlink_to(kept)
    remove(tmp_path / "link")
    assert names(tmp_path) == ["kept"] and names(kept) == ["new"]

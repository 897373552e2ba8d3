"""`steerlab run`: a record that says what was done, a dry run that does nothing, values set from outside."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from steerlab import cli, running
from steerlab.errors import SteerlabError
from steerlab.inputs import Scenes
from steerlab.locking import lock_of, read_lock
from steerlab.recipe import Recipe
from steerlab.records import Record

TEXT = """model = "zoo:shapes-vit"
[data]
kind = "Scenes"
count = 3
[analyzer]
kind = "HeadGrid"
at = "blocks.1.heads"
controls = 2
"""


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "heads.toml").write_text(TEXT)
    return tmp_path / "heads.toml"


def test_a_run_leaves_a_record_that_repeats_itself(recipe, capsys):
    assert cli.main(["run", str(recipe), "--set", "analyzer.strongest=1"]) == 0
    record = Record.load("runs/heads")
    assert record.stamp.status == "finished" and record.stamp.seconds > 0
    assert Recipe.parse(record.recipe).analyzer.strongest == 1
    assert record.stamp.command == "steerlab run heads.toml --set analyzer.strongest=1"
    assert [p.name for p in (record.folder / "figures").iterdir()] == ["heads.png"]
    assert "What each of 4 heads does" in capsys.readouterr().out
    again = Recipe.parse(record.recipe).run()
    kept = record.report().tables["heads"]["effect"]
    assert again.tables["heads"]["effect"].tolist() == pytest.approx(kept.tolist(), rel=1e-4)
    assert cli.main(["run", str(recipe), "--out", "runs/heads"]) == 2  # a finished record is not overwritten
    assert "holds a finished record" in capsys.readouterr().err
    assert cli.main(["run", str(recipe)]) == 0  # and where no folder was asked for, another is taken
    assert Recipe.parse(Record.load("runs/heads-2").recipe).analyzer.strongest == 3
    assert cli.main(["run", str(recipe), "--again"]) == 0
    assert not Path("runs/heads-3").exists()
    assert running.run("heads.toml", "runs/b").stamp.command == "steerlab run heads.toml"
    (recipe.parent / "sub").mkdir()
    (recipe.parent / "sub" / "heads.toml").write_text(TEXT)
    assert running.run("sub/heads.toml", "runs/c").stamp.command == "steerlab run sub/heads.toml"
    assert Recipe.parse(Record.load("runs/heads").recipe).analyzer.strongest == 3
    assert cli.main(["show", "runs/heads"]) == 0
    assert cli.main(["compare", "runs/heads", "runs/heads"]) == 0


def test_a_dry_run_prints_the_plan_and_runs_nothing(recipe, capsys, monkeypatch):
    def never(*args, **kwargs):
        raise AssertionError("the analyzer ran")

    monkeypatch.setattr("steerlab.analyzers.heads.HeadGrid.__call__", never)
    assert cli.main(["run", str(recipe), "--dry-run"]) == 0
    said = capsys.readouterr().out
    parts = (
        "Dinov2WithRegistersModel, family dinov2_with_registers",
        "Scenes, 3 inputs",
        "blocks.1.heads: 1 sites; 0.1 MiB to read",
        "blocks.1.heads  [batch, token, head 4, dim 32]",
        "MiB, 1,225,216 parameters",
        "25 inputs pass the model",
    )
    for part in parts:
        assert part in said, said
    assert re.search(r"time      about \d", said)
    assert not (recipe.parent / "runs").exists()


@pytest.mark.parametrize(
    ("change", "value"),
    [
        ("analyzer.strongest=2", 2),
        ('analyzer.at="**.heads"', "**.heads"),
        ("analyzer.at=blocks.2.heads", "blocks.2.heads"),
    ],
)
def test_values_are_set_in_toml_or_as_texts(change, value, recipe):
    changed = running.read(recipe, [change])
    assert getattr(changed.analyzer, change.split("=")[0].split(".")[1]) == value
    assert changed.folder == recipe.parent


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("analyzer.strongst=2", "HeadGrid has no 'strongst'; did you mean 'strongest'"),
        ("strongest", "write key=value"),
        ("model.name=3", "'model' is a value, and has no keys"),
        ("analyzer.strongest=many", "strongest='many' is not a whole number"),
    ],
)
def test_what_cannot_be_set_is_said(change, says, recipe):
    with pytest.raises(SteerlabError, match=says):
        running.read(recipe, [change])


KILLED = """
import os, signal, sys
import steerlab.comparing as comparing
from steerlab import running
ran = comparing.run_arms
count = 0

def counted(*args, **kwargs):
    global count
    count += 1
    if count > int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
    return ran(*args, **kwargs)

comparing.run_arms = counted
running.run(sys.argv[1], "runs/x", ["analyzer.batch=1", 'analyzer.at="**.heads"'], resume=len(sys.argv) > 3)
print(count)
"""


def test_a_killed_run_goes_on_and_ends_with_the_same_numbers(recipe):
    def start(*arguments: str) -> subprocess.CompletedProcess:
        command = [sys.executable, "-c", KILLED, str(recipe), *arguments]
        here = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(cli.__file__).parents[1])}
        return subprocess.run(command, capture_output=True, text=True, env=os.environ | here)

    killed = start("20")  # of 24 heads one by one, and a comparison
    assert killed.returncode == -9
    left = Record.load("runs/x").stamp
    assert left.status == "killed" and "--resume" in left.reason
    assert len(list((recipe.parent / "runs/x/progress").iterdir())) == 20
    resumed = start("99", "resume")
    assert resumed.returncode == 0, resumed.stderr
    assert resumed.stdout.split()[-1] == "5"  # the four heads that were left, and the comparison
    whole = running.run(recipe, "runs/whole", ["analyzer.batch=1", 'analyzer.at="**.heads"'])
    tables = [Record.load(where).report().tables["heads"]["effect"] for where in ("runs/x", whole.folder)]
    assert torch.equal(*tables)
    assert not (recipe.parent / "runs/x/progress").exists()


def test_what_is_no_unfinished_run_of_the_recipe_is_not_gone_on_with(recipe, monkeypatch):
    with pytest.raises(SteerlabError, match="holds no run to go on with"):
        running.run(recipe, "runs/x", resume=True)
    monkeypatch.setattr("steerlab.analyzers.heads.HeadGrid.__call__", lambda *args: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        running.run(recipe, "runs/x")
    with pytest.raises(SteerlabError, match="a run of another recipe"):
        running.run(recipe, "runs/x", ["analyzer.strongest=1"], resume=True)


@pytest.mark.parametrize(
    ("fault", "status"), [(KeyboardInterrupt(), "interrupted"), (MemoryError("x"), "failed")]
)
def test_a_run_that_ends_early_says_so(fault, status, recipe, monkeypatch):
    def stop(*args, **kwargs):
        raise fault

    monkeypatch.setattr("steerlab.analyzers.heads.HeadGrid.__call__", stop)
    with pytest.raises(type(fault)):
        running.run(recipe, "runs/x")
    assert json.loads((recipe.parent / "runs/x/record.json").read_text())["status"] == status
    assert Recipe.parse((recipe.parent / "runs/x/recipe.toml").read_text()).model == "zoo:shapes-vit"


def test_two_runs_do_not_write_to_one_folder(recipe):
    with Record.begin("runs/x", recipe.read_text()) as first:
        assert Record.load("runs/x").stamp.status == "running"
        with pytest.raises(SteerlabError, match="another run is writing to runs/x"):
            running.run(recipe, "runs/x")
        first.fail("enough")
    assert running.run(recipe, "runs/x").stamp.status == "finished"
    assert not (recipe.parent / "runs/x" / ".running").exists()


def test_a_lock_holds_a_run_to_what_its_names_stood_for(recipe, capsys):
    assert cli.main(["run", str(recipe), "--out", "runs/a"]) == 0
    lock = read_lock("runs/a/lock.json")
    assert lock["model"]["class"] == "Dinov2WithRegistersModel" and lock["data"]["inputs"] == 3
    assert lock["sites"] == {"blocks.1.heads": ["blocks.1.heads"]}
    same = ["run", str(recipe), "--lock", "runs/a/lock.json"]
    assert cli.main([*same, "--out", "runs/b"]) == 0
    assert json.loads(Path("runs/b/lock.json").read_text()) == lock
    capsys.readouterr()
    assert cli.main([*same, "--out", "runs/c", "--set", "data.seed=1"]) == 2
    said = capsys.readouterr().err
    assert "runs/a/lock.json locks another run. data sha256: " in said and "model" not in said
    assert Record.load("runs/c").stamp.status == "failed"
    assert cli.main([*same, "--out", "runs/d", "--set", "analyzer.at=blocks.2.heads"]) == 2
    assert "sites blocks.1.heads" in capsys.readouterr().err
    assert cli.main(["run", str(recipe), "--lock", str(recipe)]) == 2
    assert "not a lock that can be read" in capsys.readouterr().err


def test_a_lock_sees_other_weights_and_other_dictionaries(recipe):
    opened = Recipe.load(recipe).open()
    before = lock_of(opened)
    assert lock_of(Recipe.load(recipe).open()) == before
    weight = opened.model.module.layernorm.bias
    with torch.no_grad():
        weight[5] += 1e-3
    changed = lock_of(opened)
    assert changed["model"]["sample"] != before["model"]["sample"]
    assert {part for part in before if before[part] != changed[part]} == {"model"}


def test_a_run_is_not_gone_on_with_on_other_data(recipe, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("steerlab.analyzers.heads.HeadGrid.__call__", lambda *args: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            running.run(recipe, "runs/x")
    others = Scenes(3, seed=5).load(recipe.parent)
    monkeypatch.setattr("steerlab.inputs.Scenes.load", lambda self, folder: others)
    with pytest.raises(SteerlabError, match="locks another run"):
        running.run(recipe, "runs/x", resume=True)

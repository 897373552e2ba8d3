"""What a run leaves is run again where only steerlab and its requirements are, with the same result."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import steerlab as sl
from steerlab import running
from steerlab.records import Record

REPO = Path(__file__).parents[1]
RECIPE = """model = "zoo:shapes-vit"
[data]
kind = "Scenes"
count = 4
[analyzer]
kind = "HeadGrid"
at = "blocks.3:5.heads"
controls = 2
"""
APPLIED = """
import json, sys
import steerlab as sl
from steerlab.inputs import Scenes

change = sl.load_intervention(sys.argv[1])
model, scenes = sl.load("zoo:shapes-vit"), Scenes(4).load(None)
with model.edit(change) as receipt:
    edited = model.capture(scenes, at="blocks.5.resid")["blocks.5.resid"]
print(json.dumps({"from": sl.__file__, "sum": edited.double().norm().item(), "first": edited[0, 0].tolist()}))
"""


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    """A new environment with nothing but the package as it is packaged, and its requirements."""
    folder, source = tmp_path_factory.mktemp("environment"), tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPO / name, source)
    shutil.copytree(REPO / "steerlab", source / "steerlab", ignore=shutil.ignore_patterns("__pycache__"))
    uv = shutil.which("uv")
    assert uv, "the tests need uv on the path: pip install uv"
    python = folder / "env" / ("Scripts" if os.name == "nt" else "bin") / "python"
    for command in (
        ["venv", "--quiet", "--python", sys.executable, str(folder / "env")],
        ["pip", "install", "--quiet", "--python", str(python), str(source)],
    ):
        subprocess.run([uv, *command], check=True, capture_output=True, text=True)
    return python


def run(python: Path, arguments: list[str], folder: Path) -> str:
    here = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    done = subprocess.run(
        [str(python), *arguments],
        env=here | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_recipe_and_an_intervention_do_there_what_they_did_here(clean, tmp_path):
    (tmp_path / "heads.toml").write_text(RECIPE)
    here = running.run(tmp_path / "heads.toml", tmp_path / "here")
    there = tmp_path / "elsewhere"
    there.mkdir()
    shutil.copy(here.folder / "recipe.toml", there)
    shutil.copy(here.folder / "lock.json", there)
    steer = next((here.folder / "report" / "interventions").glob("*.steer"))
    shutil.copytree(steer, there / steer.name)
    run(clean, ["-m", "steerlab.cli", "run", "recipe.toml", "--out", "again", "--lock", "lock.json"], there)
    again = Record.load(there / "again")
    assert again.stamp.status == "finished"
    ours, theirs = here.report(), again.report()
    torch.testing.assert_close(theirs.tables["heads"]["effect"], ours.tables["heads"]["effect"])
    assert [one.claim for one in theirs.evidence] == [one.claim for one in ours.evidence]

    said = json.loads(run(clean, ["-c", APPLIED, steer.name], there))
    assert not Path(said["from"]).is_relative_to(REPO)
    model, scenes = sl.load("zoo:shapes-vit"), sl.inputs.Scenes(4).load(there)
    with model.edit(sl.load_intervention(steer)):
        edited = model.capture(scenes, at="blocks.5.resid")["blocks.5.resid"]
    assert said["sum"] == pytest.approx(edited.double().norm().item(), rel=1e-6)
    assert said["first"] == pytest.approx(edited[0, 0].tolist(), abs=1e-5)
    plain = model.capture(scenes, at="blocks.5.resid")["blocks.5.resid"]
    assert (plain - edited).norm() > 0.05 * plain.norm()

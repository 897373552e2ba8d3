"""A package of somebody else, installed and used: what it adds is found by entry points alone."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

SAMPLE = Path(__file__).parent / "plugin"
REPO = Path(__file__).parents[1]
RECIPE = """model = "zoo:shapes-vit"
[let.sae]
kind = "LoadDictionary"
name = "theirs"
[data]
kind = "Scenes"
count = 2
[analyzer]
kind = "Lengths"
at = "blocks.4:6.resid"
edit = { kind = "Chain", edits = [
    { kind = "Halve", times = 2 },
    { kind = "Zero", basis = { kind = "Only", dictionary = "$sae", atoms = [3] } },
] }
"""
FAMILY = """
import torch, transformers
import steerlab as sl

class Config(transformers.LlamaConfig):
    model_type = "sample_llama"

class Model(transformers.LlamaForCausalLM):
    config_class = Config

sizes = dict(hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4)
small = Config(vocab_size=50, **sizes)
model = sl.wrap(Model(small).eval())
assert model.family.name == "sample_llama", model.family.name
ids = torch.arange(5)[None]
with model.edit({"blocks.1.heads.2": sl.edits.EDITS["Halve"]()}) as receipt:
    model.logits(ids)
print(receipt)
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The sample package in a folder of its own, installed by uv as any package is."""
    target = tmp_path_factory.mktemp("site")
    uv = shutil.which("uv")
    assert uv, "the tests need uv on the path: pip install uv"
    source = shutil.copytree(SAMPLE, tmp_path_factory.mktemp("source") / "plugin")
    command = [
        uv,
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--python",
        sys.executable,
        "--target",
        str(target),
    ]
    subprocess.run([*command, str(source)], check=True, capture_output=True, text=True)
    return target


def run(code: list[str], installed: Path, folder: Path) -> str:
    paths = os.pathsep.join([str(installed), str(REPO)])
    done = subprocess.run(
        [sys.executable, *code],
        env=os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_what_a_package_adds_is_listed_and_used_from_a_recipe(installed, tmp_path):
    listed = run(["-m", "steerlab.cli", "list"], installed, tmp_path)
    for name in ("sample_llama", "Halve", "sample", "Lengths"):
        assert f"  {name} " in listed, name
    assert "no faulty plug-ins" in listed
    generator = torch.Generator().manual_seed(0)
    (tmp_path / "theirs").mkdir()
    tensors = {name: torch.randn(6, 128, generator=generator) for name in ("up", "down")}
    save_file(tensors, tmp_path / "theirs" / "sample.safetensors")
    (tmp_path / "lengths.toml").write_text(RECIPE)
    said = run(["-m", "steerlab.cli", "run", "lengths.toml"], installed, tmp_path)
    assert "How long are activations?" in said and "Halve(2)" in said


def test_a_family_of_another_package_is_proved_like_our_own(installed, tmp_path):
    said = run(["-c", FAMILY], installed, tmp_path)
    assert "blocks.1.heads.2" in said and "fired 1" in said

"""The page for those who come from other tools: each block computes a result twice, theirs and ours."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pages
import pytest

from steerlab.sites import ALIASES

REPO = Path(__file__).parents[1]
PAGE = REPO / "notebooks" / "coming_from_other_tools.md"
BLOCKS = {block.title: block for block in pages.blocks(PAGE) if block.language == "python"}
# Section: the package that its first half runs.
PEERS = {
    "nnsight": "nnsight",
    "TransformerLens": "transformer_lens",
    "SAELens": "sae_lens",
    "pyvene": "pyvene",
    "repeng": "repeng",  # the last: it gives numpy an old name
}
# Installed apart: repeng asks for an older numpy than ours, and both for packages they do not need here.
APART = ("pyvene==0.1.8", "repeng==0.4.0")


@pytest.fixture(scope="module")
def said(tmp_path_factory) -> dict[str, str]:
    """What each section's block raised, in one process: peers set filters of warnings for all of it."""
    folder, packages = tmp_path_factory.mktemp("coming"), tmp_path_factory.mktemp("packages")
    uv = shutil.which("uv")
    assert uv, "the tests need uv on the path: pip install uv"
    command = [uv, "pip", "install", "--quiet", "--no-deps", "--python", sys.executable]
    subprocess.run([*command, "--target", str(packages), *APART], check=True, capture_output=True, text=True)
    out = folder / "said.json"
    paths = os.pathsep.join([str(REPO), *filter(None, [os.environ.get("PYTHONPATH")])])
    quiet = {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "MPLBACKEND": "agg"}
    done = subprocess.run(
        [sys.executable, pages.__file__, str(PAGE), str(out), str(packages), *PEERS],
        env=os.environ | quiet,
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(out.read_text())


@pytest.mark.parametrize("peer", PEERS)
def test_both_ways_give_the_same(said, peer):
    assert said[peer] == "", said[peer]


@pytest.mark.parametrize("peer", PEERS)
def test_a_block_runs_the_peer_and_then_us_and_compares_last(peer):
    theirs, ours = BLOCKS[peer].text.split("# ours\n")
    assert f"import {PEERS[peer]}" in theirs or f"from {PEERS[peer]}" in theirs
    assert "# theirs\n" in theirs and theirs.count("assert ") == 0
    assert ours.count("assert ") >= 3 and ours.count(" and not ") >= 1  # equal, and unlike the bare model


def test_every_section_is_run_and_those_installed_here_are_the_page_s_versions():
    assert set(BLOCKS) == {*PEERS, "Names"}
    text = PAGE.read_text(encoding="utf-8")
    assert [pin for pin in APART if pin.replace("==", " ") not in text] == []


def test_names_of_transformer_lens_are_all_told():
    names = pages.run(PAGE, BLOCKS["Names"])["theirs_and_ours"]
    assert {name.removeprefix("blocks.5.") for name in names} == set(ALIASES)

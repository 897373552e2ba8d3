"""Which way imports run, how long files are, and what importing the package costs."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import steerlab

ROOT = Path(steerlab.__file__).parent
REPO = ROOT.parent

# From the ground up: a module imports only from rooms that stand before its own, or from its own package.
ROOMS = [
    *("errors", "registry", "signatures", "trees", "numerics"),
    *("sites", "choices", "spoken", "tokens", "grids", "steps", "moment", "scope"),
    "bases",
    *("edits", "fitting"),
    *("layouts", "points", "looks", "attention", "taps", "layers", "calls", "runs", "clock"),
    *("families", "entrances", "recording", "proof"),
    *(
        "receipts",
        "activations",
        "fingerprint",
        "intervention",
        "control_vectors",
        "keeping",
        "editing",
        "reading",
        "comparing",
        "estimating",
    ),
    *("foreign", "describing", "starting", "generating", "folding", "picturing"),
    *("model", "wrapping", "attending", "prompt_attention", "surrogates", "rewiring", "budget", "backends"),
    *("metrics", "atoms", "figures", "zoo", "loading", "opening", "store", "report"),
    *("inputs", "made", "analyzers", "toml_lines", "recipe", "locking"),
    *("stamps", "page", "planning", "records", "running", "showing"),
    *("demo", "cli"),
]
FILES = sorted(path for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py")


def room_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imported_rooms(path: Path) -> set[str]:
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "steerlab":
            parts = node.module.split(".")[1:]
            rooms |= {parts[0]} if parts else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            rooms |= {a.name.split(".")[1] for a in node.names if a.name.startswith("steerlab.")}
    return rooms


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_imports_from_floors_below_its_own(path):
    own = room_of(path)
    assert own in ROOMS, f"{own} has no floor: add it to ROOMS"
    allowed = set(ROOMS[: ROOMS.index(own) + 1])
    assert imported_rooms(path) <= allowed


@pytest.mark.parametrize("path", sorted((ROOT / "numerics").glob("*.py")), ids=lambda path: path.name)
def test_numerics_import_torch_and_each_other_alone(path):
    assert imported_rooms(path) <= {"numerics"}
    names = {
        (node.module if isinstance(node, ast.ImportFrom) else node.names[0].name).split(".")[0]
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, (ast.Import, ast.ImportFrom))
    }
    assert names <= {"torch", "math", "__future__", "collections", "dataclasses", "scipy", "steerlab"}


def test_only_taps_registers_hooks():
    for path in FILES:
        if path.name != "taps.py":
            assert "register_forward" not in path.read_text(), path


@pytest.mark.parametrize("folder", ["steerlab", "tests"])
def test_no_file_is_longer_than_300_lines(folder):
    lengths = {path: len(path.read_text().splitlines()) for path in (REPO / folder).rglob("*.py")}
    assert {path: n for path, n in lengths.items() if n > 300} == {}


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_importing_steerlab_brings_in_nothing_heavy():
    loaded = run("import sys, steerlab; print(*{name.split('.')[0] for name in sys.modules})").split()
    assert "steerlab" in loaded
    assert not {"torch", "transformers", "diffusers", "matplotlib", "nnsight"} & set(loaded)


def test_using_the_names_of_steerlab_brings_in_torch_alone():
    code = "import sys, steerlab as sl; sl.wrap, sl.Add, sl.Site, sl.Activations, sl.load"
    loaded = run(code + "; print(*{name.split('.')[0] for name in sys.modules})").split()
    assert "torch" in loaded
    assert not {"transformers", "diffusers", "matplotlib", "nnsight"} & set(loaded)


def test_every_public_name_exists_and_a_wrong_one_is_helped():
    assert all(getattr(steerlab, name) is not None for name in steerlab.__all__)
    with pytest.raises(AttributeError, match=r"steerlab has no 'Zeroo'; did you mean 'Zero'"):
        _ = steerlab.Zeroo

"""Dictionaries that packages wrote, each beside the numbers that its package gives."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors import safe_open

from steerlab.bases.dictionary import Dictionary
from steerlab.bases.formats import read_dictionary

FIXTURES = Path(__file__).parent / "bases" / "formats" / "fixtures"
SUFFIX = ".expected.safetensors"


def cases(root: Path = FIXTURES) -> list[Path]:
    """The files of expected numbers below a folder."""
    return sorted(root.glob(f"*/*{SUFFIX}"))


def name_of(expected: Path) -> str:
    """Format and case."""
    return f"{expected.parent.name}/{expected.name.removesuffix(SUFFIX)}"


def path_of(expected: Path) -> Path:
    """The dictionary that a file of numbers stands beside."""
    return expected.with_name(expected.name.removesuffix(SUFFIX))


def check(expected: Path) -> Dictionary:
    """Codes and reconstructions are the package's own within 1e-5."""
    with safe_open(expected, framework="pt") as file:
        options = json.loads(file.metadata()["options"])
        x, codes, out = (file.get_tensor(name) for name in ("x", "codes", "out"))
    sae = read_dictionary(path_of(expected), None, options)
    ours = sae.encode(x)
    assert bool((ours != 0).any(dim=-1).all()) and ours.shape == codes.shape
    torch.testing.assert_close(ours, codes, atol=1e-5, rtol=1e-5)
    back = sae.decode(codes, x)
    torch.testing.assert_close(back.reshape(out.shape), out, atol=1e-5, rtol=1e-5)
    return sae

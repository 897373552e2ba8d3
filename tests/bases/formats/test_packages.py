"""Files written by the packages themselves: their codes and reconstructions, and one format for each."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from steerlab.bases.dictionary import Dictionary
from steerlab.bases.formats import FORMATS, read_dictionary
from steerlab.bases.formats.files import Source

FIXTURES = Path(__file__).parent / "fixtures"
SUFFIX = ".expected.safetensors"
CASES = sorted(FIXTURES.glob(f"*/*{SUFFIX}"))


def name_of(expected: Path) -> str:
    return f"{expected.parent.name}/{expected.name.removesuffix(SUFFIX)}"


def opened(expected: Path) -> tuple[Dictionary, dict[str, torch.Tensor]]:
    """The dictionary of a case, and the package's own numbers."""
    with safe_open(expected, framework="pt") as file:
        options = json.loads(file.metadata()["options"])
        numbers = {name: file.get_tensor(name) for name in file.keys()}
    return read_dictionary(expected.with_name(expected.name.removesuffix(SUFFIX)), None, options), numbers


@pytest.mark.parametrize("expected", CASES, ids=name_of)
def test_codes_and_reconstructions_are_the_packages_own(expected):
    sae, numbers = opened(expected)
    codes = sae.encode(numbers["x"])
    assert bool((codes != 0).any(dim=-1).all()) and codes.shape == numbers["codes"].shape
    torch.testing.assert_close(codes, numbers["codes"], atol=1e-5, rtol=1e-5)
    out = sae.decode(numbers["codes"], numbers["x"])
    torch.testing.assert_close(out.reshape(numbers["out"].shape), numbers["out"], atol=1e-5, rtol=1e-5)
    assert sae.facts.fingerprint is not None and len(sae.facts.fingerprint) == 64


@pytest.mark.parametrize("expected", CASES, ids=name_of)
def test_one_format_alone_recognises_each(expected):
    source = Source(expected.with_name(expected.name.removesuffix(SUFFIX)))
    found = [format.name for format in FORMATS.values() if format.recognises(source)]
    assert found == [expected.parent.name]

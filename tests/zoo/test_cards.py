"""What the folders of all embedded weights have in common: a card that is true, and nothing that runs."""

from __future__ import annotations

import json
import re
from decimal import ROUND_HALF_EVEN, ROUND_HALF_UP, Decimal
from pathlib import Path

import pytest

from steerlab import zoo

WEIGHTS = Path(zoo.__file__).parent / "weights"
FOLDERS = sorted(p for p in WEIGHTS.iterdir() if p.is_dir() and p.name != "dictionaries")
KINDS = {".json", ".safetensors", ".txt", ".md"}
every_folder = pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)


def quoted(value: float) -> set[Decimal]:
    """A number as a card may write it: as it is if whole, else to three digits, halves either way."""
    exact = Decimal(str(value))
    if exact == exact.to_integral_value():
        return {exact}
    return {exact.quantize(Decimal("0.001"), rounding=way) for way in (ROUND_HALF_EVEN, ROUND_HALF_UP)}


def numbers(text: str) -> set[Decimal]:
    return {Decimal(found.replace(",", "")) for found in re.findall(r"-?\d[\d,]*(?:\.\d+)?", text)}


def test_there_are_embedded_weights():
    assert {"shapes-clip", "shapes-vit"} <= {folder.name for folder in FOLDERS}


@every_folder
def test_a_folder_is_a_name_of_the_zoo(folder):
    assert folder.name in zoo.names()


@every_folder
def test_a_folder_holds_data_alone(folder):
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} <= KINDS
    for path in files:
        if path.suffix == ".safetensors":
            with path.open("rb") as file:
                length = int.from_bytes(file.read(8), "little")
                assert isinstance(json.loads(file.read(length)), dict)
        elif path.suffix == ".json":
            content = json.loads(path.read_text(encoding="utf-8"))
            assert "_name_or_path" not in content  # where it lay when it was saved


@every_folder
def test_a_card_quotes_every_measured_number_and_how_to_get_it(folder):
    card = (folder / "README.md").read_text(encoding="utf-8")
    measured = json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))
    assert measured
    said = numbers(card)
    missing = {name: value for name, value in measured.items() if not quoted(value) & said}
    assert missing == {}
    assert f"python -m steerlab.zoo.training evaluate {folder.name}" in card
    assert f"python -m steerlab.zoo.training train {folder.name}" in card
    assert "Apache-2.0" in card


def test_all_weights_together_are_small():
    assert sum(path.stat().st_size for path in WEIGHTS.rglob("*") if path.is_file()) < 40e6

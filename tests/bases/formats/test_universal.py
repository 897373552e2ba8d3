"""Universal autoencoders: one change of a code, carried into every member."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from steerlab.bases.dictionary import Dictionary
from steerlab.bases.encoders import Pursuit
from steerlab.bases.formats import read_dictionary
from steerlab.bases.formats.universal import carry
from steerlab.bases.norms import ConstantLength
from steerlab.errors import SteerlabError

FIXTURES = Path(__file__).parent / "fixtures" / "universal"
VIT, DINO = (FIXTURES / f"uni_{name}_checkpoint_29.pth" for name in ("ViT", "DinoV2"))


def member(file: Path, **options: object) -> Dictionary:
    return read_dictionary(file, None, {"k": 6, "mean": 0.0, "std": 1.0, **options})


def cosine(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.cosine_similarity(a, b, dim=-1)


def test_every_carried_change_lies_along_the_members_own_row():
    members = {"vit": member(VIT, std=2.1), "dino": member(DINO, std=2.5)}
    delta = torch.zeros(5, 48)
    delta[:, 7] = torch.tensor([1.0, 2.0, -1.0, 0.5, 3.0])
    carried = carry(delta, members)
    for name, sae in members.items():
        along = cosine(carried[name], sae[7] * delta[:, 7:8].sign())
        torch.testing.assert_close(along, torch.ones(5), atol=1e-6, rtol=0)
    assert carried["vit"].shape == (5, 16) and carried["dino"].shape == (5, 10)


def test_twice_the_deviation_carries_twice_as_far():
    delta = torch.randn(5, 48, generator=torch.Generator().manual_seed(0))
    once = carry(delta, {"a": member(VIT)})["a"]
    twice = carry(delta, {"a": member(VIT, std=2.0)})["a"]
    torch.testing.assert_close(twice, 2 * once)


def test_what_an_edit_does_in_its_own_model_is_what_carry_gives_there():
    sae = member(VIT, mean=-0.03, std=2.25)
    x = torch.randn(5, 16, generator=torch.Generator().manual_seed(2))
    moved = sae.moved(x, lambda z: z.index_fill(-1, torch.tensor([7]), 2.0))
    codes = sae.encode(x)
    delta = codes.index_fill(-1, torch.tensor([7]), 2.0) - codes
    torch.testing.assert_close(moved - x, carry(delta, {"a": sae})["a"], atol=1e-5, rtol=1e-5)


def test_what_activations_were_standardised_with_must_be_given():
    with pytest.raises(SteerlabError, match=r"give mean=\.\.\. and std=\.\.\."):
        read_dictionary(VIT, None, {})
    with pytest.raises(SteerlabError, match=r"give std=\.\.\. \(published"):
        read_dictionary(VIT, None, {"mean": 0.0})
    with pytest.raises(SteerlabError, match="std is 0.0, expected a positive number"):
        read_dictionary(VIT, None, {"mean": 0.0, "std": 0})
    assert read_dictionary(VIT, None, {"mean": 0.0, "std": 1.0}).encoder.rule.k == 32  # as published


def test_members_of_another_code_and_measuring_norms_are_refused():
    with pytest.raises(SteerlabError, match="vit has 48 atoms, the code 40"):
        carry(torch.zeros(1, 40), {"vit": member(VIT)})
    measuring = Dictionary(decoder=torch.eye(3), encoder=Pursuit(1), norm=ConstantLength())
    with pytest.raises(SteerlabError, match="ConstantLength needs the activation"):
        carry(torch.zeros(1, 3), {"other": measuring})

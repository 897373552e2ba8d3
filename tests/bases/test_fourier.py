"""A number's Fourier code: planted planes, turns that compose, probes that are set at once, files."""

from __future__ import annotations

import pytest
import torch
from conftest import build
from planted_numbers import PERIODS, numbers

import steerlab as sl
from steerlab.bases import FourierCode, fourier_probes
from steerlab.edits import Rotate, ToNumber
from steerlab.errors import SteerlabError
from steerlab.numerics.fourier import waves


def test_the_probes_say_the_waves_of_the_planted_numbers():
    planted = numbers()
    assert torch.allclose(planted.code.encode(planted.x), waves(planted.numbers, PERIODS), atol=0.05)
    assert len(planted.code) == 11 and planted.code.dim == 64


def test_a_code_that_was_decoded_is_encoded_to_the_bit_of_rounding():
    planted = numbers()
    z = torch.randn(7, 11, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert torch.allclose(planted.code.encode(planted.code.decode(z)), z, atol=1e-10)


def test_turns_are_the_identity_at_zero_and_compose():
    planted = numbers()
    x = planted.x[:50]
    assert torch.equal(Rotate(planted.code, 0)(x), x)
    twice = Rotate(planted.code, 5)(Rotate(planted.code, 3)(x))
    assert torch.allclose(twice, Rotate(planted.code, 8)(x), atol=1e-9)
    halves = planted.code.only([5, 100])
    assert torch.allclose(Rotate(halves, 0.25)(Rotate(halves, 0.25)(x)), Rotate(halves, 0.5)(x), atol=1e-9)


def test_a_turn_is_an_addition_for_the_read_out():
    planted = numbers()
    by = planted.targets
    found = planted.answers(Rotate(planted.code, by)(planted.x))
    assert torch.equal(found, (planted.numbers + by) % 100)


def test_a_part_of_the_code_moves_its_own_probes_and_leaves_orthogonal_ones():
    planted = numbers()
    x = planted.x[:20]
    moved = planted.code.encode(Rotate(planted.code.only([10]), 2)(x))
    before, mine = planted.code.encode(x), torch.tensor([3, 4])  # after the cosine of 2 and both of 5
    wanted = planted.code.turned(before, torch.tensor(2.0))
    assert torch.allclose(moved[:, mine], wanted[:, mine], atol=1e-9)
    others = [i for i in range(11) if i not in (3, 4)]
    assert torch.allclose(moved[:, others], before[:, others], atol=0.02)


def test_erasing_leaves_nothing_in_the_probes():
    planted = numbers()
    part = planted.code.only([2, 5])
    assert float(part.encode(sl.Zero(part)(planted.x)).abs().max()) < 1e-9


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda code: Rotate(code, 0.5), "not whole"),
        (lambda code: Rotate(code.subspace, 1), "takes a FourierCode"),
        (lambda code: ToNumber(code, 3, scale="big"), "scale"),
        (lambda code: code.only([7]), r"periods \[7\]"),
        (lambda code: FourierCode((2, 5), code.weights[:2], code.biases[:2]), "3 probes"),
        (lambda code: FourierCode((5,), torch.ones(2, 4), torch.zeros(2)), "depend on each other"),
        (lambda code: fourier_probes(torch.ones(5, 3), torch.arange(5), [5]), "all equal"),
    ],
)
def test_what_cannot_be_is_told(make, said):
    with pytest.raises(SteerlabError, match=said):
        make(numbers().code)


def test_a_code_is_saved_with_its_edits_and_comes_back_to_the_bit(tmp_path):
    lm = build("llama").model
    x = torch.randn(40, 32, generator=torch.Generator().manual_seed(1))
    code = fourier_probes(x, torch.arange(40) % 20, [2, 5, 10], site="blocks.1.resid")
    assert str(code.site) == "blocks.1.resid"
    changes = {
        "blocks.1.resid": sl.edits.Chain([Rotate(code, 3), ToNumber(code.only([5]), 2.0, joint=False)])
    }
    sl.save_intervention(changes, tmp_path / "number", model=lm)
    again = sl.load_intervention(tmp_path / "number.steer")
    with lm.edit(changes):
        wanted = lm.logits(["the cat sat"])
    with lm.edit(again):
        found = lm.logits(["the cat sat"])
    assert torch.equal(found, wanted) and not torch.equal(found, lm.logits(["the cat sat"]))

"""Steering to a number in some of its periods: the planted table, in turn and at once, and interchange."""

from __future__ import annotations

import pytest
import torch
from planted import frame, generator
from planted_numbers import DIM, PERIODS, numbers, right

import steerlab as sl
from steerlab.edits import Rotate, ToNumber

TABLE = {  # periods steered: share of answers equal to the target, modulo 10, 20 and 100
    (2,): (0.20, 0.10, 0.02),
    (5,): (0.30, 0.15, 0.03),
    (2, 5): (0.51, 0.25, 0.05),
    (2, 5, 10): (1.00, 0.49, 0.10),
    (2, 5, 10, 20): (1.00, 1.00, 0.20),
    (2, 5, 10, 20, 50): (1.00, 1.00, 0.49),
    PERIODS: (1.00, 1.00, 1.00),
}


def test_every_answer_is_right_before_any_edit():
    planted = numbers()
    assert torch.equal(planted.answers(planted.x), planted.numbers)


@pytest.mark.parametrize("joint", [True, False])
@pytest.mark.parametrize("periods", TABLE)
def test_periods_determine_the_answer_modulo_their_multiples(periods, joint):
    planted = numbers()
    steered = ToNumber(planted.code.only(periods), planted.targets, joint=joint)(planted.x)
    assert_shares(right(planted.answers(steered), planted.targets), TABLE[periods])


def test_a_scale_of_ten_does_not_stand_in_for_periods_left_out():
    planted = numbers()
    steered = ToNumber(planted.code.only([2, 5, 10, 20]), planted.targets, scale=10.0)(planted.x)
    assert_shares(right(planted.answers(steered), planted.targets), (1.00, 1.00, 0.20))
    assert float((steered - planted.x).norm() / planted.x.norm()) > 5  # and it is far from any activation


def assert_shares(found: dict[int, float], wanted: tuple[float, ...]) -> None:
    """Exact where all or none are right, else within four standard errors of 2000 samples."""
    for share, expected in zip(found.values(), wanted, strict=True):
        assert share == 1.0 if expected == 1.0 else share == pytest.approx(expected, abs=0.045)


def test_an_interchange_of_the_true_planes_is_that_of_the_numbers_and_random_planes_do_nothing():
    planted = numbers()
    source = planted.x.roll(7, 0)
    wanted = planted.numbers.roll(7, 0)
    swapped = sl.Replace(source, sl.Subspace(planted.planes))(planted.x)
    assert torch.equal(planted.answers(swapped), wanted)
    swapped = sl.Replace(source, planted.code.subspace)(planted.x)
    assert right(planted.answers(swapped), wanted)[10] == 1.0
    elsewhere = sl.Subspace(frame(2 * len(PERIODS), DIM, generator(9)))
    assert right(planted.answers(sl.Replace(source, elsewhere)(planted.x)), wanted)[100] < 0.05


def test_numbers_and_turns_can_be_each_rows_own():
    planted = numbers()
    x = planted.x[:6].view(3, 2, DIM)
    together = Rotate(planted.code, torch.tensor([[1], [2], [3]]))(x)
    for row in range(3):
        assert torch.allclose(together[row], Rotate(planted.code, row + 1)(x[row]))
    together = ToNumber(planted.code, torch.tensor([[1], [2], [3]]))(x)
    assert planted.answers(together).tolist() == [[1, 1], [2, 2], [3, 3]]

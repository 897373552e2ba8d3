"""Classes, shares and transitions of sinks from recorded numbers."""

from __future__ import annotations

import math

import pytest
import torch

from steerlab.numerics.sink_classes import (
    CLASSES,
    gini,
    heads_carrying,
    sink_classes,
    transition,
    type_shares,
)


def classed(rows: list[tuple[bool, float, float]], **thresholds: float) -> list[str]:
    event, ratio, rank = (torch.tensor(column) for column in zip(*rows, strict=True))
    return [CLASSES[i] for i in sink_classes(event, ratio, rank, **thresholds).tolist()]


ROWS = [(True, 0.2, 9.0), (True, 0.5, 1.5), (True, 0.5, 1.6), (True, 0.35, 1.0), (False, 0.0, 1.0)]


def test_the_thresholds_are_the_papers_and_can_be_moved_without_a_rerun():
    assert classed(ROWS) == ["no-op", "broadcast", "other", "other", "none"]
    assert classed(ROWS, rank=math.inf) == ["no-op", "broadcast", "broadcast", "other", "none"]
    assert classed(ROWS, no_op=0.4) == ["no-op", "broadcast", "other", "no-op", "none"]
    unknown = [(True, math.nan, math.nan), (False, math.nan, math.nan)]
    assert classed(unknown) == ["other", "none"]
    with pytest.raises(ValueError, match="below the second"):
        classed(ROWS, no_op=0.6)


def test_the_gini_coefficient_and_the_heads_that_carry_most():
    rates = torch.tensor([0.1, 0.9, 0.4, 0.0, 0.2], dtype=torch.float64)
    by_hand = sum(abs(a - b) for a in rates for b in rates) / (2 * len(rates) ** 2 * rates.mean())
    assert gini(rates) == pytest.approx(float(by_hand), rel=1e-12)
    assert gini(torch.ones(7)) == pytest.approx(0, abs=1e-12)
    assert gini(torch.tensor([0.0, 0.0, 0.0, 1.0])) == pytest.approx(0.75)
    assert math.isnan(gini(torch.zeros(3)))
    assert heads_carrying(torch.tensor([1, 70, 9, 20])) == 2
    assert heads_carrying(torch.tensor([1, 80, 9, 10])) == 1
    assert heads_carrying(torch.ones(10)) == 8 and heads_carrying(torch.zeros(3)) == 0


def test_the_depth_profile_and_its_transition():
    """Class token first, patches from block 2 on; block 1 has no event."""
    types = torch.tensor([[[0, 0], [2, 2], [2, 0], [2, 2]], [[0, 2], [2, 2], [2, 2], [1, 2]]])
    events = torch.tensor([[[1, 1], [0, 0], [1, 1], [1, 0]], [[1, 0], [0, 0], [1, 0], [1, 1]]]).bool()
    shares = type_shares(events, types, 3)
    assert shares[0].tolist() == [1, 0, 0] and shares[1].isnan().all()
    assert shares[2].tolist() == pytest.approx([1 / 3, 0, 2 / 3])
    assert shares[3].tolist() == pytest.approx([0, 1 / 3, 2 / 3])
    assert (
        transition(shares, 0, 2) == 2
        and transition(shares, 2, 0) == 0
        and transition(shares[:2], 0, 2) is None
    )
    assert transition(torch.tensor([[0.5, 0.5], [0.4, 0.6]]), 0, 1) == 1  # as many are not more

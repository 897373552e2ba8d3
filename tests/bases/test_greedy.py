"""Pursuit as trained: equal to the search on unit rows, and when a row stops."""

from __future__ import annotations

import torch

from steerlab.bases import Pursuit
from steerlab.bases.greedy import Greedy

GENERATOR = torch.Generator().manual_seed(0)
ROWS = torch.randn(24, 10, generator=GENERATOR, dtype=torch.float64)
UNIT = ROWS / ROWS.norm(dim=1, keepdim=True)
X = torch.randn(30, 10, generator=GENERATOR, dtype=torch.float64)


def by_hand(x, rows, steps, *, tolerance=0.0, until_repeat=False, nonnegative=False):
    """One row at a time, in plain loops."""
    codes, residual = [0.0] * len(rows), x.clone()
    for _ in range(steps):
        values = [float(residual @ row) for row in rows]
        best = max(range(len(rows)), key=values.__getitem__)
        value = max(values[best], 0.0) if nonnegative else values[best]
        known = codes[best] != 0
        codes[best] += value
        residual = residual - value * rows[best]
        if (until_repeat and (known or value == 0)) or float(residual.norm()) < tolerance:
            break
    return torch.tensor(codes, dtype=torch.float64)


def test_on_rows_of_length_1_it_is_the_search_with_divided_steps():
    torch.testing.assert_close(Greedy(8)(X, UNIT), Pursuit(8)(X, UNIT), atol=1e-12, rtol=0)
    assert bool((Greedy(8)(X, 1.2 * UNIT) - Pursuit(8)(X, 1.2 * UNIT)).abs().max() > 0.1)


def test_an_orthonormal_dictionary_is_solved_in_as_many_steps_as_codes():
    basis = torch.linalg.qr(torch.randn(10, 10, generator=GENERATOR, dtype=torch.float64))[0]
    codes = torch.zeros(4, 10, dtype=torch.float64)
    codes[:, :5] = torch.rand(4, 5, generator=GENERATOR, dtype=torch.float64) + 0.5
    torch.testing.assert_close(Greedy(5)(codes @ basis, basis), codes, atol=1e-12, rtol=0)


def test_each_way_of_stopping_is_that_of_plain_loops():
    settings = (
        {},
        {"tolerance": 1.2},
        {"until_repeat": True},
        {"tolerance": 1.8, "until_repeat": True},
    )
    lengths = []
    for chosen in settings:
        ours = Greedy(20, **chosen)(X, 0.9 * UNIT)
        reference = torch.stack([by_hand(x, 0.9 * UNIT, 20, **chosen) for x in X])
        torch.testing.assert_close(ours, reference, atol=1e-12, rtol=0)
        lengths.append(int((ours != 0).sum()))
    assert len(set(lengths)) == len(settings)  # each setting stops somewhere else


def test_codes_that_may_only_grow_never_shrink():
    few = 0.9 * UNIT[:4]  # so few rows that some activation is on the other side of all of them
    ours = Greedy(6, nonnegative=True)(X, few)
    reference = torch.stack([by_hand(x, few, 6, nonnegative=True) for x in X])
    torch.testing.assert_close(ours, reference, atol=1e-12, rtol=0)
    assert float(ours.min()) == 0 and float(Greedy(6)(X, few).min()) < 0


def test_leading_axes_are_kept():
    codes = Greedy(3)(X.reshape(5, 6, 10), UNIT)
    assert codes.shape == (5, 6, 24) and torch.equal(codes.reshape(30, 24), Greedy(3)(X, UNIT))

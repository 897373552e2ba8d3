"""Distances on the simplex by their known figures and identities, and soft prototypes."""

from __future__ import annotations

import math

import planted
import pytest
import torch

from steerlab.numerics import simplex
from steerlab.numerics.simplex import bhattacharyya, fisher_rao, hellinger, overlap, soft_prototypes

FIRST = torch.tensor([0.5, 0.5, 0.0], dtype=torch.float64)
SECOND = torch.tensor([0.0, 0.5, 0.5], dtype=torch.float64)


@pytest.mark.parametrize(
    ("distance", "value"),
    [(overlap, 0.5), (hellinger, 0.70711), (bhattacharyya, 0.69315), (fisher_rao, 2.0944)],
)
def test_two_halves_that_share_one_outcome(distance, value):
    # the clip at 1e-8 lends an outcome that cannot happen 1e-4 of root
    assert float(distance(FIRST, SECOND)) == pytest.approx(value, abs=4e-4)


def test_they_are_one_family():
    g = planted.generator(0)
    p, q = (planted.randn(2, 40, 6, g=g)).softmax(-1)
    d = hellinger(p, q)
    torch.testing.assert_close(d.square(), 1 - overlap(p, q), atol=1e-12, rtol=0)
    torch.testing.assert_close(bhattacharyya(p, q), -overlap(p, q).log(), atol=1e-12, rtol=0)
    torch.testing.assert_close(fisher_rao(p, q), 2 * overlap(p, q).acos(), atol=1e-12, rtol=0)
    torch.testing.assert_close(hellinger(q, p), d)


def test_small_distances_keep_their_digits():
    p = torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64)
    step = 1e-9 * torch.tensor([1.0, -1.0, 0.0], dtype=torch.float64)
    wanted = math.sqrt(float((step.square() / p).sum()))  # the Fisher metric, of length dp
    assert float(fisher_rao(p, p + step)) == pytest.approx(wanted, rel=1e-6)
    assert float(2**1.5 * hellinger(p, p + step)) == pytest.approx(wanted, rel=1e-6)
    assert float(2 * overlap(p, p + step).acos()) != pytest.approx(wanted, rel=0.5)  # what is avoided


def test_nothing_shared_is_far_and_has_gradients_all_the_same():
    p = torch.tensor([1.0, 0.0], requires_grad=True)
    q = torch.tensor([0.0, 1.0])
    for distance, most in ((hellinger, 1.0), (bhattacharyya, -math.log(1e-7)), (fisher_rao, math.pi)):
        value = distance(p, q)
        assert 0.5 * most < float(value.detach()) <= most * (1 + 1e-5)
        (slope,) = torch.autograd.grad(value, p)
        assert bool(slope.isfinite().all())
    assert simplex.roots(p.detach().half()).dtype == torch.float32


def test_a_feature_is_where_its_prototypes_are_near():
    prototypes = torch.arange(5, dtype=torch.float64)[:, None] * 3
    p = soft_prototypes(prototypes[None], prototypes)
    assert p.shape == (1, 5, 5) and bool((p[0].argmax(-1) == torch.arange(5)).all())
    apart = (prototypes - prototypes.T).abs()
    weights = (-apart / 0.5).exp()
    torch.testing.assert_close(p[0], weights / weights.sum(-1, keepdim=True))
    between = soft_prototypes(torch.tensor([[1.5]], dtype=torch.float64), prototypes, temperature=2.0)[0]
    assert float(between[0]) == pytest.approx(float(between[1]))
    far = soft_prototypes(torch.tensor([[1e6]]), prototypes)
    assert float(far.sum()) == pytest.approx(1.0)


def test_prototypes_of_another_width_and_no_temperature_are_refused():
    with pytest.raises(ValueError, match="differ in width"):
        soft_prototypes(torch.zeros(2, 3), torch.zeros(4, 2))
    with pytest.raises(ValueError, match="above 0"):
        soft_prototypes(torch.zeros(2, 3), torch.zeros(4, 3), temperature=0.0)

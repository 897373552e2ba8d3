"""Values in a wrong order: the curve still goes through them, and behaviour along it is far less natural."""

from __future__ import annotations

import planted_ring
import pytest
import torch
from planted_ring import COUNT, TURN, ring, steered

from steerlab.bases import Shape, fit_manifold, wrong_order
from steerlab.errors import SteerlabError
from steerlab.numerics.naturalness import energy


@pytest.fixture(scope="module")
def man():
    return planted_ring.fitted()[0]


def cost(manifold) -> float:
    """Mean energy from one clean prompt between values that are three apart."""
    clean = ring().clean(torch.zeros(1, dtype=torch.float64))
    paths = [manifold.path(i, (i + 3) % COUNT) for i in range(COUNT)]
    found = torch.stack([ring().read(steered(path, clean)) for path in paths])
    return float(energy(found, planted_ring.fitted()[1]).mean())


def test_ways_through_a_wrong_order_are_unnatural(man):
    found = torch.tensor([cost(wrong_order(man, seed=seed)) for seed in range(6)])
    assert cost(man) < 0.05 and float(found.median()) > 2 and float(found.min()) > 5 * cost(man)


def test_the_values_stay_where_they_are_and_their_places_are_exchanged(man):
    order = [0, 3, 1, 2, 6, 5, 4]
    other = wrong_order(man, order=order)
    torch.testing.assert_close(other.point(5), man.point(5), atol=1e-10, rtol=0)
    torch.testing.assert_close(other.knots, man.knots[order], atol=0, rtol=0)
    assert other.facts["order"] == "0, 3, 1, 2, 6, 5, 4" and "order" not in man.facts
    assert other.arc_length(0, 1) > 1.3 * man.arc_length(0, 1)


def assert_wrong(manifold, closes: bool) -> None:
    ranks = manifold.knots[:, 0].argsort().tolist()  # the values as the curve passes them
    size = len(ranks)
    rights = [list(range(size)), list(range(size))[::-1]]
    if closes:
        rights = [one[k:] + one[:k] for one in rights for k in range(size)]
    assert ranks not in rights


def test_no_random_order_is_the_right_one_in_disguise(man):
    g = torch.Generator().manual_seed(0)
    x = torch.randn(40, 6, generator=g)
    four = fit_manifold(
        x, torch.arange(40) % 4, shape=Shape(torch.arange(4) * TURN / 4, periods=(TURN,)), pca=5
    )
    three = fit_manifold(x, torch.arange(40) % 3, shape=Shape("ordinal"), pca=5)
    for seed in range(20):
        assert_wrong(wrong_order(man, seed=seed), closes=True)
        assert_wrong(wrong_order(four, seed=seed), closes=True)
        assert_wrong(wrong_order(three, seed=seed), closes=False)


def test_what_has_no_wrong_order_is_refused(man):
    with pytest.raises(SteerlabError, match=f"each of the {COUNT} values once"):
        wrong_order(man, order=[0, 0, 1, 2, 3, 4, 5])
    x = torch.randn(9, 4, generator=torch.Generator().manual_seed(0))
    shape = Shape(torch.arange(3) * TURN / 3, periods=(TURN,))
    with pytest.raises(SteerlabError, match="3 values on this manifold have no order that is wrong"):
        wrong_order(fit_manifold(x, torch.arange(9) % 3, shape=shape))

"""Moving one of three random simplices towards a vertex: exact in its codes, blind to the others."""

from __future__ import annotations

import planted
import pytest
import torch

from steerlab.numerics.cones import hull_projection
from steerlab.numerics.minkowski import codes_toward_prototype, group_part, toward_prototype

GROUP = torch.arange(4, 8)


@pytest.fixture
def simplices():
    """Codes ``[20, 12]`` that mix the vertices of three simplices, and the vertices ``[12, 16]``."""
    g = planted.generator(0)
    mixtures = planted.rand(20, 3, 4, g=g)
    codes = (mixtures / mixtures.sum(-1, keepdim=True)).flatten(1)
    return codes, planted.randn(12, 16, g=g)


def prototype_codes():
    return torch.tensor([0.0, 1.0, 0.0, 0.0], dtype=torch.float64)


def test_the_whole_way_sets_the_group_and_leaves_the_others_bit_for_bit(simplices):
    codes, _ = simplices
    before = codes.clone()
    moved = codes_toward_prototype(codes, prototype_codes(), group=GROUP)
    assert torch.equal(moved[:, GROUP], prototype_codes().expand(20, 4))
    others = [0, 1, 2, 3, 8, 9, 10, 11]
    for alpha in (0.0, 0.3, 1.0, 2.0):
        part = codes_toward_prototype(codes, prototype_codes(), group=GROUP, alpha=alpha)
        assert torch.equal(part[:, others], codes[:, others])
    assert torch.equal(codes_toward_prototype(codes, prototype_codes(), group=GROUP, alpha=0.0), codes)
    assert torch.equal(codes, before)


@pytest.mark.parametrize("alpha", [0.0, 0.4, 1.0, 1.7])
def test_activations_and_codes_move_alike_and_what_codes_miss_is_kept(simplices, alpha):
    codes, atoms = simplices
    missed = planted.randn(20, 16, g=planted.generator(1))
    x = codes @ atoms + missed
    part = group_part(codes, atoms, group=GROUP)
    moved = toward_prototype(x, part, prototype=atoms[5], alpha=alpha)
    by_codes = codes_toward_prototype(codes, prototype_codes(), group=GROUP, alpha=alpha)
    torch.testing.assert_close(moved, by_codes @ atoms + missed)
    torch.testing.assert_close(moved, (1 - alpha) * part + alpha * atoms[5] + (x - part))


def test_the_part_stays_in_its_polytope_up_to_one_and_leaves_it_linearly_beyond(simplices):
    codes, atoms = simplices
    part = group_part(codes, atoms, group=GROUP)

    def distance(alpha):
        moved = toward_prototype(part, part, prototype=atoms[5], alpha=alpha)
        return hull_projection(moved, atoms[GROUP])[1]

    for alpha in (0.0, 0.25, 0.5, 1.0):
        assert float(distance(alpha).max()) < 1e-9
    # close to the vertex the nearest face of the polytope does not change, so the way out is straight
    beyond = torch.stack([distance(1 + excess) for excess in (0.1, 0.2, 0.4)])
    torch.testing.assert_close(beyond[1], 2 * beyond[0])
    torch.testing.assert_close(beyond[2], 4 * beyond[0])
    assert float(beyond[0].min()) > 1e-3


def test_the_sum_of_the_three_parts_stays_in_the_sum_of_the_three_hulls(simplices):
    codes, atoms = simplices
    # every vertex of the Minkowski sum is a sum of one vertex from each simplex
    corners = (atoms[:4][:, None, None] + atoms[4:8][None, :, None] + atoms[8:][None, None]).reshape(-1, 16)
    x, part = codes[:4] @ atoms, group_part(codes[:4], atoms, group=GROUP)
    for alpha, inside in ((0.5, True), (1.0, True), (1.5, False)):
        away = hull_projection(toward_prototype(x, part, prototype=atoms[5], alpha=alpha), corners)[1]
        assert bool((away < 1e-9).all()) == inside
    along = x + 3 * atoms[5]  # a bare step along the atom leaves
    assert float(hull_projection(along, corners)[1].min()) > 0.1

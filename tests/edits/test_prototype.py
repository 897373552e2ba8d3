"""ToPrototype on sums of three simplices: its group's codes alone move, and saturate at the prototype."""

from __future__ import annotations

import planted
import pytest
import torch

import steerlab as sl
from steerlab.bases import Linear, Relu
from steerlab.edits import ToPrototype
from steerlab.numerics.cones import hull_projection
from steerlab.numerics.minkowski import group_part, toward_prototype

GROUP = [4, 5, 6, 7]
PROTOTYPE = torch.tensor([0.0, 1.0, 0.0, 0.0], dtype=torch.float64)


@pytest.fixture
def mixtures():
    """A dictionary of twelve orthonormal vertices in 16 dimensions, and sums of three mixtures of four."""
    g = planted.generator(0)
    atoms = torch.linalg.qr(planted.randn(16, 12, g=g)).Q.T.contiguous()
    weights = planted.rand(20, 3, 4, g=g)
    codes = (weights / weights.sum(-1, keepdim=True)).flatten(1)
    encoder = Linear(atoms.T.contiguous(), torch.zeros(12, dtype=torch.float64), Relu())
    missed = planted.randn(20, 16, g=g)
    missed = missed - missed @ atoms.T @ atoms
    return sl.Dictionary(decoder=atoms, encoder=encoder), codes, codes @ atoms + missed


@pytest.mark.parametrize("alpha", [0.0, 0.4, 1.0, 1.7])
def test_it_is_the_published_sum_of_a_moved_part_and_all_the_rest(mixtures, alpha):
    sae, codes, x = mixtures
    part = group_part(codes, sae.atoms, group=torch.tensor(GROUP))
    expected = toward_prototype(x, part, prototype=sae.atoms[5], alpha=alpha)
    moved = ToPrototype(sae.only(GROUP), PROTOTYPE, alpha)(x)
    torch.testing.assert_close(moved, expected, atol=1e-12, rtol=0)
    assert torch.equal(moved, x) == (alpha == 0)


def test_the_whole_way_sets_the_group_and_no_other_code(mixtures):
    sae, codes, x = mixtures
    after = sae.encode(ToPrototype(sae.only(GROUP), PROTOTYPE)(x))
    torch.testing.assert_close(after[:, GROUP], PROTOTYPE.expand(20, 4), atol=1e-12, rtol=0)
    others = [0, 1, 2, 3, 8, 9, 10, 11]
    torch.testing.assert_close(after[:, others], codes[:, others], atol=1e-12, rtol=0)


def test_up_to_one_the_part_stays_in_its_polytope_where_a_step_along_an_atom_leaves_it(mixtures):
    sae, codes, x = mixtures
    group = sae.only(GROUP)

    def outside(edit):
        return hull_projection(group.part(edit(x)), sae.atoms[GROUP])[1]

    assert float(outside(ToPrototype(group, PROTOTYPE, 0.9)).max()) < 1e-7
    once, twice = (outside(ToPrototype(group, PROTOTYPE, 1 + a)) for a in (0.5, 1.0))
    assert float(once.min()) > 0.05
    assert float(outside(sl.Add(sae[5], 0.9)).min()) > 0.3
    assert bool((twice > once).all())


@pytest.mark.parametrize(
    ("prototype", "alpha", "message"),
    [
        (torch.ones(3), 1.0, r"one code an atom of the group, \[2\], not \[3\]"),
        (torch.ones(2), float("nan"), "alpha=nan is not a number"),
        (torch.tensor([1.0, torch.inf]), 1.0, "1 of 2 entries are NaN or infinite"),
    ],
)
def test_what_cannot_be_a_prototype_is_refused(mixtures, prototype, alpha, message):
    with pytest.raises(sl.SteerlabError, match=message):
        ToPrototype(mixtures[0].only([1, 2]), prototype, alpha)

"""Move: along a curve from the own place, along a subspace, and not at all."""

from __future__ import annotations

from dataclasses import replace

import planted_ring
import pytest
import torch
from planted_ring import TURN, ring

import steerlab as sl
from steerlab.edits import Move


@pytest.fixture(scope="module")
def man():
    return planted_ring.fitted()[0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_no_way_at_all_is_the_identity_to_the_bit(man, dtype):
    x = ring().x.to(dtype)
    assert torch.equal(Move(man, 0.0)(x), x)
    assert not torch.equal(Move(man, 0.1)(x), x)


def test_a_step_of_one_value_reads_as_the_next_value(man):
    planted = ring()
    after = Move(man, TURN / 7)(planted.x)
    assert bool((planted.read(after)[:, :7].argmax(-1) == (planted.labels + 1) % 7).all())
    # each went on from where it was: their spread along the ring is not lost, as replacing would lose it
    own, there = (man.encode(x) for x in (planted.x, after))
    went = man.chart.shift(own, there)
    assert float((went - TURN / 7).abs().max()) < 0.1
    replaced = man.encode(sl.Replace(man.point(3), man.subspace)(planted.x[planted.labels == 2]))
    assert float(replaced.std()) < 1e-6 < float(there[planted.labels == 2].std())


def test_what_is_off_the_manifold_is_kept(man):
    x, u = ring().x, man.encode(ring().x)
    after = Move(man, 1.3)(x)
    torch.testing.assert_close(after - man.decode(u + 1.3), x - man.decode(u), atol=1e-10, rtol=0)
    torch.testing.assert_close(after @ man.frame.T, (x - man.decode(u) + man.decode(u + 1.3)) @ man.frame.T)


def test_a_whole_turn_comes_home(man):
    torch.testing.assert_close(Move(man, TURN)(ring().x), ring().x, atol=1e-10, rtol=0)


def test_rows_may_go_different_ways(man):
    x, by = ring().x[:4], torch.tensor([[0.0], [0.5], [1.0], [-1.0]], dtype=torch.float64)
    after = Move(man, by)(x)
    for row in range(4):
        torch.testing.assert_close(after[row], Move(man, by[row])(x[row]))


def test_an_edit_first_run_for_inference_serves_gradients_later():
    manifold = replace(planted_ring.fitted()[0])  # with nothing kept yet
    x = ring().x[:2].float()
    with torch.inference_mode():
        without = Move(manifold, 0.5)(x)
    x.requires_grad_()
    with_ = Move(manifold, 0.5)(x)
    with_.sum().backward()
    torch.testing.assert_close(with_.detach(), without)
    assert bool(x.grad.isfinite().all()) and not torch.equal(x.grad, torch.ones_like(x.grad))


def test_in_a_subspace_it_is_a_step_along_its_atoms():
    basis = sl.Subspace(torch.randn(2, 6, generator=torch.Generator().manual_seed(0)))
    x = torch.randn(3, 6, generator=torch.Generator().manual_seed(1))
    by = torch.tensor([2.0, -1.0])
    torch.testing.assert_close(Move(basis, by)(x), x + by @ basis.atoms)


def test_what_is_no_basis_and_no_way_is_refused(man):
    with pytest.raises(sl.SteerlabError, match="Move takes a basis"):
        Move(torch.ones(3), 1.0)
    with pytest.raises(sl.SteerlabError, match="NaN or infinite"):
        Move(man, float("nan"))
    with pytest.raises(sl.SteerlabError, match="a way of shape"):
        Move(man, torch.ones(2))(ring().x)

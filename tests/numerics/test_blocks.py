"""Blocks of atoms: the strongest ones by brute force, shrinkage, orthonormal and bounded ones, refitting."""

from __future__ import annotations

import itertools

import pytest
import torch

from steerlab.numerics.blocks import block_norms, bounded_blocks, orthonormal_blocks, refitted
from steerlab.numerics.sparse import block_entries, block_shrink, block_top_k


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_strongest_blocks_are_those_of_brute_force():
    """Of all choices of k blocks, the one that keeps most of the code's square."""
    pre = random(40, 18)
    kept = block_top_k(pre, 2, 3)
    for row, code in zip(pre.view(40, 6, 3), kept.view(40, 6, 3), strict=True):
        pairs = itertools.combinations(range(6), 2)
        best = max(pairs, key=lambda pair: float(row[list(pair)].square().sum()))
        wanted = torch.zeros_like(row)
        wanted[list(best)] = row[list(best)]
        assert torch.equal(code, wanted)
    assert bool(((block_norms(kept, 3) > 0).sum(-1) == 2).all())


def test_entries_come_longest_first_with_their_signs():
    pre = torch.tensor([[0.1, 0.0, -3.0, 4.0, 1.0, -1.0]])
    values, index = block_entries(pre, 2, 2)
    assert values.tolist() == [[-3.0, 4.0, 1.0, -1.0]] and index.tolist() == [[2, 3, 4, 5]]


def test_one_atom_a_block_is_a_signed_top_k():
    pre = random(30, 12)
    strongest = pre.abs().topk(4).indices
    wanted = torch.zeros_like(pre).scatter(1, strongest, pre.gather(1, strongest))
    assert torch.equal(block_top_k(pre, 4, 1), wanted)


def test_shrinkage_is_the_prox_of_the_length():
    u = torch.tensor([1.2, -0.7, 0.4], dtype=torch.float64)
    found = block_shrink(u, torch.tensor([0.5]), 3)
    assert found.tolist() == pytest.approx([0.78497, -0.45790, 0.26166], abs=1e-5)
    grid = torch.linspace(0, 1, 2001, dtype=torch.float64)[:, None] * u  # the prox lies along u
    cost = 0.5 * (grid - u).square().sum(-1) + 0.5 * grid.norm(dim=-1)
    assert torch.allclose(grid[cost.argmin()], found, atol=1e-3)
    pair = block_shrink(torch.tensor([3.0, 4.0, 0.3, 0.4]), torch.tensor([1.0, 0.6]), 2)
    assert pair.tolist() == pytest.approx([2.4, 3.2, 0.0, 0.0])


def test_shrinkage_has_a_slope_at_an_empty_block():
    pre = torch.zeros(1, 4, requires_grad=True)
    (block_shrink(pre, torch.tensor([0.1]), 2).sum() + block_norms(pre, 2).sum()).backward()
    assert pre.grad.isfinite().all()


def test_orthonormal_blocks_span_what_they_spanned_and_doing_it_twice_changes_nothing():
    atoms = random(12, 10)
    found = orthonormal_blocks(atoms, 3)
    blocks = found.view(4, 3, 10)
    assert torch.allclose(blocks @ blocks.mT, torch.eye(3, dtype=torch.float64).expand(4, 3, 3), atol=1e-12)
    for before, after in zip(atoms.view(4, 3, 10), blocks, strict=True):
        assert torch.allclose(before @ after.T @ after, before, atol=1e-12)
    assert torch.allclose(orthonormal_blocks(found, 3), found, atol=1e-12)  # no sign turns
    with pytest.raises(ValueError, match="3 atoms cannot be orthonormal in 2 dimensions"):
        orthonormal_blocks(random(3, 2), 3)


def test_bounded_blocks_are_made_shorter_never_longer():
    atoms = torch.cat([0.1 * torch.eye(4)[:2], 3.0 * torch.eye(4)[2:]])
    found = bounded_blocks(atoms, 2).view(2, 2, 4)
    assert torch.equal(found[0], atoms[:2])
    assert float(found[1].norm()) == pytest.approx(1.0)
    assert torch.allclose(found[1] / found[1].norm(), atoms[2:] / atoms[2:].norm())


def test_refitting_takes_shrinkage_back():
    decoder = random(8, 6)
    true = random(50, 8, seed=1) * (random(50, 8, seed=2).view(50, 4, 2)[..., :1] > 0.3).repeat_interleave(
        2, -1
    ).view(50, 8)
    rows = true @ decoder
    few = (true != 0).sum(-1) <= 4  # with more, codes are hardly unique, or not at all
    found = refitted(0.5 * true, rows, decoder)
    assert torch.allclose(found[few], true[few], atol=1e-5)
    assert bool(((found != 0) <= (true != 0)).all())
    for code, row in zip(found[:10], rows[:10] + random(10, 6, seed=3), strict=True):
        support = (code != 0).nonzero()[:, 0]
        if len(support):
            wanted = torch.linalg.lstsq(decoder[support].T, row).solution
            again = refitted(code[None], row[None], decoder)[0, support]
            if len(support) <= 4:
                assert torch.allclose(again, wanted, atol=1e-5)
    assert torch.equal(refitted(torch.zeros(3, 8), torch.ones(3, 6), decoder), torch.zeros(3, 8))

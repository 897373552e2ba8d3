"""Values and updates of sinks: head-space Grams against the stream's own width, and exact identities."""

from __future__ import annotations

import pytest
import torch

from steerlab.numerics import sink_values
from steerlab.numerics.sink_values import (
    head_grams,
    projected_norms,
    roots,
    served,
    sink_ratio,
    top_eigenvalue,
    update_shape,
    value_correction,
    without_column,
)

B, H, KV, N, D, DIM = 2, 4, 2, 24, 40, 8


def randn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


PATTERN = (3 * randn(B, H, N, N, seed=1)).softmax(-1)
V, WEIGHT, GAIN = randn(B, KV, N, DIM, seed=2), randn(D, H * DIM, seed=3), 0.1 + randn(D, seed=4).abs()
REAL = torch.ones(B, N, dtype=torch.bool)


def written() -> torch.Tensor:
    """``u``: the values of every head as the stream gets them, ``[batch, head, token, stream]``."""
    wide = torch.stack([V[:, h // 2] for h in range(H)], 1)
    slices = WEIGHT.view(D, H, DIM).permute(1, 2, 0)
    return (wide @ slices) * GAIN


def test_norms_and_ranks_in_head_space_are_those_of_the_stream():
    grams, u = head_grams(WEIGHT, H, GAIN), written()
    torch.testing.assert_close(projected_norms(V, grams), u.norm(dim=-1), rtol=1e-12, atol=0)
    update = PATTERN @ u
    on = torch.ones(B, H, N, dtype=torch.bool)
    on[1, 2, :5] = False
    update = update * on[..., None]
    shape = update_shape(PATTERN @ served(V, H), on, roots(grams))
    singular = torch.linalg.svdvals(update)
    expected = singular.square().sum(-1) / singular[..., 0].square()
    torch.testing.assert_close(shape.stable_rank, expected, rtol=1e-10, atol=0)
    torch.testing.assert_close(
        shape.energy * shape.stable_rank, torch.ones(B, H).double(), rtol=1e-14, atol=0
    )
    assert bool((shape.stable_rank >= 1).all()) and bool((shape.stable_rank <= DIM).all())
    torch.testing.assert_close(shape.norm, update.norm(dim=-1).sum(-1) / on.sum(-1), rtol=1e-12, atol=0)


def test_a_projection_that_forgets_a_direction_leaves_the_root_exact():
    """Raw and projected ratios disagree where the output projection annihilates the sink's value."""
    weight = randn(D, DIM, seed=5)
    away = torch.nn.functional.normalize(randn(DIM, seed=6), dim=0)
    weight = weight - (weight @ away)[:, None] * away
    grams = head_grams(weight, 1)
    root = roots(grams)
    torch.testing.assert_close(root @ root.transpose(1, 2), grams, rtol=0, atol=1e-12 * float(grams.max()))
    values = randn(1, 1, N, DIM, seed=7)
    values[0, 0, 3] = 5 * away
    place = torch.tensor([[3]])
    real = torch.ones(1, N, dtype=torch.bool)
    raw = sink_ratio(projected_norms(values, torch.eye(DIM).double()[None]), place, real)
    projected = sink_ratio(projected_norms(values, grams), place, real)
    assert float(raw) > 1.5 and float(projected) < 1e-6


def test_ratios_leave_padding_and_the_sink_out():
    norms = torch.tensor([[[8.0, 1.0, 3.0, 100.0]]])
    real = torch.tensor([[True, True, True, False]])
    assert sink_ratio(norms, torch.tensor([[0]]), real).item() == 4.0
    assert sink_ratio(norms, torch.tensor([[-1]]), real).isnan().all()


def test_a_value_edit_is_a_correction_of_rank_one():
    p, new = 5, randn(B, H, DIM, seed=8)
    values = served(V, H)
    edited = values.clone()
    edited[:, :, p] = new
    change = value_correction(PATTERN[..., p], new - values[:, :, p])
    torch.testing.assert_close(PATTERN @ edited, PATTERN @ values + change, rtol=1e-12, atol=1e-13)
    assert torch.linalg.matrix_rank(change).max() == 1
    values[:, :, p] = 0
    nothing = value_correction(PATTERN[..., p], 0 - values[:, :, p])
    assert not nothing.any() and torch.equal(PATTERN @ values + nothing, PATTERN @ values)


def test_taking_a_column_away_renormalises_and_a_saturated_row_says_so():
    values, p = served(V, H), 3
    pattern = PATTERN.clone()
    pattern[..., p] = 0
    pattern = pattern / pattern.sum(-1, keepdim=True)
    found = without_column(PATTERN @ values, PATTERN[..., p], values[:, :, p])
    torch.testing.assert_close(found, pattern @ values, rtol=1e-9, atol=1e-12)
    column = PATTERN[..., p].clone()
    column[0, 0, 0] = 1.0
    assert without_column(PATTERN @ values, column, values[:, :, p])[0, 0, 0].isnan().all()


def test_an_update_of_zero_has_no_rank():
    on = torch.ones(1, 1, 4, dtype=torch.bool)
    shape = update_shape(torch.zeros(1, 1, 4, 3).double(), on, torch.eye(3).double()[None])
    assert shape.stable_rank.isnan().all() and float(shape.norm) == 0


@pytest.mark.parametrize("broken", [1, 2, 3])
def test_where_the_solver_fails_the_next_way_is_taken(monkeypatch, broken):
    """Solvers fail on batches first, then on the jittered one, then everywhere but one at a time."""
    gram = torch.stack([randn(6, 6, seed=i) for i in range(3)])
    gram = gram @ gram.transpose(1, 2)
    expected = torch.linalg.eigvalsh(gram)[..., -1]
    own, svd, calls = torch.linalg.eigvalsh, torch.linalg.svdvals, []

    def failing(real):
        def solve(x):
            calls.append(x.ndim)
            if x.ndim == 3 and len(calls) <= broken:
                raise torch.linalg.LinAlgError("no convergence")
            return real(x)

        return solve

    monkeypatch.setattr(sink_values.torch.linalg, "eigvalsh", failing(own))
    monkeypatch.setattr(sink_values.torch.linalg, "svdvals", failing(svd))
    torch.testing.assert_close(top_eigenvalue(gram), expected, rtol=1e-8, atol=0)
    assert len(calls) == {1: 2, 2: 3, 3: 6}[broken]


def test_what_nothing_solves_is_nan(monkeypatch):
    def fails(x):
        raise torch.linalg.LinAlgError("no convergence")

    monkeypatch.setattr(sink_values.torch.linalg, "eigvalsh", fails)
    monkeypatch.setattr(sink_values.torch.linalg, "svdvals", fails)
    assert top_eigenvalue(torch.eye(3).double()[None]).isnan().all()


def test_heads_that_do_not_share_evenly_are_refused():
    with pytest.raises(ValueError, match="3 heads cannot share 2"):
        served(V, 3)

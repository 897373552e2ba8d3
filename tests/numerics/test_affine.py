"""A teacher of two affine blocks: the closed loop tells what teacher forcing hides."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from steerlab.numerics.affine import affine_fit, closed_loop, fit_error, pair_moments, shared_errors
from steerlab.numerics.determination import RunningR2, r2, r2_of_authors
from steerlab.numerics.segmentation import best_segments, cost_of

DIM, ROWS = 24, 400


def teacher(noise: float = 0.0) -> list[torch.Tensor]:
    """States ``[row, 24]`` along 12 layers: one affine block 7 times, another 5 times."""
    generator = torch.Generator().manual_seed(4)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    def turn() -> torch.Tensor:
        step = 0.28 * random(DIM, DIM) / DIM**0.5
        return torch.linalg.matrix_exp(step - step.T)

    blocks = [(turn(), 0.3 * random(DIM)) for _ in range(2)]
    path = [random(ROWS, DIM)]
    for layer in range(12):
        weight, bias = blocks[layer >= 7]
        path.append(path[-1] @ weight.T + bias)
    return [path[0], *(state + noise * random(ROWS, DIM) for state in path[1:])]


def scores(path: list[torch.Tensor], cuts: tuple[int, ...]) -> tuple[list[float], list[float]]:
    """R2 a layer with teacher forcing and in the closed loop, of one shared map a segment."""
    edges = (0, *cuts, 12)
    maps = []
    for a, b in zip(edges, edges[1:], strict=False):
        moments = [pair_moments(path[i], path[i + 1]) for i in range(a, b)]
        maps += [affine_fit(sum(moments[1:], moments[0]))] * (b - a)
    forced = [r2(one(path[i]), path[i + 1]) for i, one in enumerate(maps)]
    loop = closed_loop(path[0], maps)
    return forced, [r2(loop[i], path[i + 1]) for i in range(12)]


def test_the_true_cut_is_exact_and_the_others_collapse_in_the_closed_loop_alone():
    path = teacher()
    forced, loop = scores(path, (7,))
    assert forced == pytest.approx([1] * 12) and loop == pytest.approx([1] * 12)
    seen = {cuts: scores(path, cuts) for cuts in ((6,), (5,), (8,), ())}
    # teacher forcing looks well
    assert all(forced[i] > 0.8 for forced, _ in seen.values() for i in (0, 5, 11))
    last = {cuts: loop[11] for cuts, (_, loop) in seen.items()}
    assert 0.9 > last[8,] > last[6,] > last[5,] > last[()]
    assert last[5,] < 0.3 and last[()] < -0.5
    assert [seen[cuts][1][0] for cuts in ((6,), (5,))] == pytest.approx([1, 1])
    assert seen[6,][1][5] == pytest.approx(1) and seen[5,][1][5] < 0.9


def test_noise_in_the_targets_costs_the_closed_loop_more():
    forced, loop = scores(teacher(noise=0.2), (7,))
    assert min(forced) > 0.9 and loop[11] < forced[11] and loop[11] > 0.5


def test_the_sum_of_fit_errors_has_its_minimum_at_the_true_cut():
    path = teacher()
    errors = shared_errors([pair_moments(a, b) for a, b in zip(path, path[1:], strict=False)])
    assert best_segments(errors, 2).cuts == (7,)
    scale = sum(float(state.square().sum()) for state in path[1:])
    assert cost_of(errors, (7,)) < 1e-12 * scale
    assert min(cost_of(errors, (cut,)) for cut in range(1, 12) if cut != 7) > 1e-3 * scale


def test_replacing_blocks_by_blocks_of_their_own_segment_changes_nothing():
    path = teacher()
    alone = [affine_fit(pair_moments(path[i], path[i + 1])) for i in range(12)]
    inside, across = [], []
    for place in range(12):
        for other in set(range(12)) - {place}:
            maps = [alone[other] if i == place else alone[i] for i in range(12)]
            ends = r2(closed_loop(path[0], maps)[-1], path[-1])
            (inside if (place < 7) == (other < 7) else across).append(ends)
    assert inside == pytest.approx([1.0] * len(inside), abs=1e-9)
    assert max(across) < 0.9 and sum(across) / len(across) < 0


def test_the_map_and_its_error_are_those_of_numpy_and_moments_add_up():
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(5, 60, 4, generator=generator)
    y = torch.randn(5, 60, 3, generator=generator)
    parts = pair_moments(x[:2], y[:2]) + pair_moments(x[2:], y[2:])
    given = np.c_[x.double().numpy().reshape(-1, 4), np.ones(300)]
    wanted, error, *_ = np.linalg.lstsq(given, y.double().numpy().reshape(-1, 3), rcond=None)
    fit = affine_fit(parts)
    assert np.allclose(np.c_[fit.weight.numpy(), fit.bias.numpy()].T, wanted)
    assert fit_error(parts) == pytest.approx(error.sum())
    assert float(affine_fit(parts, ridge=1e6).weight.abs().max()) < 1e-2


def test_the_two_forms_of_r2_and_the_running_one():
    generator = torch.Generator().manual_seed(2)
    target = torch.randn(6, 50, 4, generator=generator, dtype=torch.float64) + torch.tensor([0.0, 5, -5, 1])
    guess = target + 0.5 * torch.randn(6, 50, 4, generator=generator, dtype=torch.float64)
    y, p = target.reshape(-1, 4).numpy(), guess.reshape(-1, 4).numpy()
    missed = ((y - p) ** 2).sum()
    assert r2(guess, target) == pytest.approx(1 - missed / ((y - y.mean(0)) ** 2).sum())
    assert r2_of_authors(guess, target) == pytest.approx(1 - missed / ((p - p.mean()) ** 2).sum())
    assert r2_of_authors(guess, target) > r2(guess, target)  # means of features count as explained
    running = RunningR2()
    for batch in range(6):
        running.add(guess[batch], target[batch])
    assert running.value == pytest.approx(r2(guess, target))
    mean = target.reshape(-1, 4).mean(0).expand_as(target)
    assert r2(mean, target) == pytest.approx(0, abs=1e-12)

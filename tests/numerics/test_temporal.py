"""Measures of time in activations, on processes whose values are known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from planted import frame, generator, randn

from steerlab.numerics.temporal import (
    autocorrelation,
    energy_share,
    event_score,
    explained_by_past,
    permuted,
    slow_and_fast,
    slow_fast_cka,
    stationary,
    tortuosity,
    u_statistic,
)


def autoregressive(samples: int, tokens: int, dim: int, a: float) -> torch.Tensor:
    g = generator(0)
    x = [randn(samples, dim, g=g)]
    for _ in range(tokens - 1):
        x.append(a * x[-1] + (1 - a**2) ** 0.5 * randn(samples, dim, g=g))
    return torch.stack(x, 1)


@pytest.mark.parametrize("window", [16, 64])
def test_noise_without_memory_gives_the_floor(window):
    share, floor = explained_by_past(randn(200, 65, 128, g=generator(1)), 64, window)
    assert floor == window / 128 and share == pytest.approx(floor, abs=0.012)


@pytest.mark.parametrize(("window", "wanted"), [(1, 0.811), (16, 0.834), (64, 0.905)])
def test_an_autoregressive_past_explains_its_square_and_the_floor_of_the_rest(window, wanted):
    share, floor = explained_by_past(autoregressive(200, 65, 128, 0.9), 64, window)
    assert share == pytest.approx(wanted, abs=0.01)
    assert 0.81 + 0.19 * floor == pytest.approx(wanted, abs=0.001)


@pytest.mark.parametrize("count", [4, 16, 64])
def test_the_effective_rank_of_equally_used_directions_is_their_number(count):
    directions = frame(count, 80, generator(2))
    signs = torch.randn(4096, 1, generator=generator(3)).sign()
    x = directions[torch.arange(4096) % count] * signs
    assert u_statistic(x) == pytest.approx(count, rel=0.02)


def test_cosines_decay_with_the_lag_and_shuffled_tokens_have_none():
    x = autoregressive(100, 64, 128, 0.9)
    found = autocorrelation(x, [1, 5, 20])
    assert found.tolist() == pytest.approx([0.9, 0.9**5, 0.9**20], abs=0.02)
    surrogate = permuted(x)
    assert torch.allclose(surrogate.sort(1).values, x.sort(1).values)
    assert float(autocorrelation(surrogate, [1]) - found[0]) < -0.5


def test_a_stationary_surrogate_keeps_the_mean_of_every_diagonal():
    similarity = randn(7, 7, g=generator(4)).numpy()
    found = stationary(torch.tensor(similarity)).numpy()
    for lag in range(-6, 7):
        assert np.diagonal(found, lag) == pytest.approx(np.diagonal(similarity, lag).mean())


def test_codes_that_follow_events_score_and_others_do_not():
    g = generator(5)
    events = torch.arange(60) // 10
    centres = frame(6, 24, g)[events]
    assert event_score(centres, events) == pytest.approx(1.2)  # centred simplex: 1 inside, -1 / 5 across
    assert abs(event_score(randn(60, 24, g=g), events)) < 0.05
    with pytest.raises(ValueError, match="two events"):
        event_score(centres, torch.zeros(60))


def test_slow_and_fast_parts_sum_to_the_whole_and_split_at_half_of_the_energy():
    t = torch.arange(64)[:, None] * 2 * torch.pi / 64
    slow = 1.1 * torch.cat([(2 * t).cos(), (3 * t).sin()], 1).double()
    fast = torch.cat([(20 * t).sin(), (25 * t).cos()], 1).double()
    x = torch.cat([slow, fast], 1)
    found = slow_and_fast(x + 5)
    assert torch.allclose(found[0] + found[1], x, atol=1e-5)
    assert torch.allclose(found[0][:, :2], slow, atol=1e-5) and float(found[0][:, 2:].abs().max()) < 1e-5
    low, high = slow_fast_cka(slow, x)
    assert low == pytest.approx(1, abs=1e-6) and high == pytest.approx(0, abs=1e-6)


def test_a_line_is_straight_a_walk_winds_and_noise_goes_nowhere():
    g = generator(6)
    line = torch.arange(100.0)[:, None] * randn(1, 50, g=g)
    assert tortuosity(line) == pytest.approx(1)
    assert tortuosity(randn(100, 4000, g=g)) == pytest.approx(99, rel=0.03)
    assert tortuosity(randn(100, 4000, g=g).cumsum(0)) == pytest.approx(99**0.5, rel=0.03)


def test_energy_is_shared_between_the_parts():
    assert energy_share(torch.tensor([[3.0, 0.0]]), torch.tensor([[0.0, 1.0]])).tolist() == pytest.approx(
        [0.9]
    )

"""Sinks by construction: the eight heads, streaming sums against whole patterns, rules and classes."""

from __future__ import annotations

import math

import pytest
import torch

from steerlab.numerics.sink_classes import CLASSES, sink_classes
from steerlab.numerics.sink_values import projected_norms, sink_ratio, update_shape
from steerlab.numerics.sinks import (
    EPSILONS,
    check_epsilons,
    column_facts,
    counted,
    dominant,
    first_token_strength,
    literal,
    looks_causal,
    no_sums,
    operational,
    queries_of,
    virtual_mass,
)

N, DIM = 64, 64


def drawn(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def randn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=drawn(seed), dtype=torch.float64)


def patterns(batch: int, heads: int, tokens: int, *, causal: bool = False, seed: int = 0) -> torch.Tensor:
    scores = 4 * randn(batch, heads, tokens, tokens, seed=seed)
    if causal:
        scores = scores.masked_fill(~torch.ones(tokens, tokens).tril().bool(), -torch.inf)
    return scores.softmax(-1)


def summed(pattern: torch.Tensor, real: torch.Tensor | None = None, *, causal: bool = False, tile: int = 7):
    sums = no_sums(pattern, causal)
    for first in range(0, pattern.shape[2], tile):
        sums = sums.added(pattern[:, :, first : first + tile], first, real)
    return sums


def sparse_rest(eps: float, seed: int) -> torch.Tensor:
    """Column 0 has 1 - eps of every row; the rest is spread by a Dirichlet distribution of 0.1."""
    gamma = torch._standard_gamma(torch.full((N, N - 1), 0.1, dtype=torch.float64), generator=drawn(seed))
    pattern = torch.full((N, N), 1 - eps, dtype=torch.float64)
    pattern[:, 1:] = eps * gamma / gamma.sum(1, keepdim=True)
    return pattern


def values(scale: float) -> torch.Tensor:
    """Gaussian values; the sink's is `scale` times as long as a typical one."""
    v = randn(N, DIM, seed=1)
    v[0] *= scale * math.sqrt(DIM) / v[0].norm()
    return v


def uniform_rest(eps: float) -> torch.Tensor:
    pattern = torch.full((N, N), eps / (N - 1), dtype=torch.float64)
    pattern[:, 0] = 1 - eps
    return pattern


def adaptive() -> torch.Tensor:
    """Half of the queries at 0.98 on the sink, half on themselves."""
    pattern = torch.full((N, N), 0.02 / (N - 1), dtype=torch.float64)
    for i in range(N):
        pattern[i, 0 if i <= N // 2 else i] = 0.98
    return pattern


# construction: pattern, values, and what is expected of mass, routed, ratio, stable rank and class
HEADS = {
    "uniform rest": (uniform_rest(0.1), values(0), 0.900, 1, 0, (0.999, 1.001), "no-op"),
    "sparse rest": (sparse_rest(0.1, 2), values(0), 0.900, 1, 0, (4.5, 9), "no-op"),
    "small value": (sparse_rest(0.1, 2), values(0.1), 0.900, 1, 0.10, (1.05, 1.3), "no-op"),
    "typical value": (sparse_rest(0.1, 2), values(1.0), 0.900, 1, 1.00, (1.0005, 1.003), "broadcast"),
    "eps 0.3": (sparse_rest(0.3, 3), values(1.0), 0.700, 1, 1.00, (1.005, 1.04), "broadcast"),
    "adaptive": (adaptive(), values(0), 0.506, 0.516, 0, (8, 14), "none"),
    "uniform": (torch.full((N, N), 1 / N).double(), values(1.04), 1 / N, 0, 1.04, (0.999, 1.001), "none"),
    "identity": (torch.eye(N).double(), values(1.04), 1 / N, 1 / N, 1.04, (12, 22), "none"),
}


@pytest.mark.parametrize("name", HEADS)
def test_the_eight_heads_have_the_numbers_expected_of_them(name):
    pattern, v, mass, routed, ratio, (low, high), kind = HEADS[name]
    real = torch.ones(1, N, dtype=torch.bool)
    sums = summed(pattern[None, None])
    place, found = dominant(sums, queries_of(real, False))
    column = pattern[:, place[0, 0]][None, None]
    on = counted(place, real, False)
    facts = column_facts(column, on)
    identity = torch.eye(DIM, dtype=torch.float64)[None]
    norms = projected_norms(v[None, None], identity)
    found_ratio = sink_ratio(norms, place, real)
    shape = update_shape((pattern @ v)[None, None], on, identity)
    assert int(place) == 0  # of equals the first
    assert float(found) == pytest.approx(mass, abs=2e-3)
    assert float(facts.routed[0]) == pytest.approx(routed, abs=1e-3)
    assert float(found_ratio) == pytest.approx(ratio, abs=0.06)
    assert low <= float(shape.stable_rank) <= high
    assert float(shape.stable_rank * shape.energy) == pytest.approx(1, abs=1e-12)
    event = operational(facts.routed[0])
    assert CLASSES[int(sink_classes(event, found_ratio, shape.stable_rank))] == kind
    if name == "adaptive":  # the mode for a subset of the queries finds it
        assert float(facts.subset_mass) == pytest.approx(0.98, abs=1e-12)
        subset = sink_classes(operational(facts.routed[0], 0.25), found_ratio, shape.stable_rank)
        assert CLASSES[int(subset)] == "no-op"


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("padded", [False, True])
def test_tiles_give_what_the_whole_pattern_gives(causal, padded):
    tokens = 40
    pattern = patterns(3, 2, tokens, causal=causal)
    real = torch.ones(3, tokens, dtype=torch.bool)
    if padded:
        real[1, :5], real[2, 33:] = False, False
        pattern = pattern * real[:, None, None, :]
        pattern = pattern / pattern.sum(-1, keepdim=True).clamp_min(1e-300)
    sums = summed(pattern, real if padded else None, causal=causal)
    place, mass = dominant(sums, queries_of(real, causal))
    on = counted(place, real, causal)
    for b in range(3):
        for h in range(2):
            means = []
            for s in range(tokens):
                rows = [i for i in range(tokens) if real[b, i] and (i > s or not causal)]
                enough = real[b, s] and len(rows) >= (16 if causal else 1)
                means.append(pattern[b, h, rows, s].mean().item() if enough else -1.0)
            s = max(range(tokens), key=lambda j: means[j])
            rows = [i for i in range(tokens) if real[b, i] and (i > s or not causal)]
            assert int(place[b, h]) == s and float(mass[b, h]) == pytest.approx(means[s], rel=1e-12)
            assert on[b, h].nonzero()[:, 0].tolist() == rows
            column = pattern[b : b + 1, h : h + 1, :, s]
            facts = column_facts(column, on[b : b + 1, h : h + 1])
            held = pattern[b, h, rows, s]
            expected = [(held >= 1 - eps).double().mean().item() for eps in EPSILONS]
            assert facts.routed[:, 0, 0].tolist() == pytest.approx(expected)
            assert float(facts.least) == float(held.min())
            if bool((held >= 0.5).any()):
                assert float(facts.subset_mass) == pytest.approx(float(held[held >= 0.5].mean()))
            else:
                assert facts.subset_mass.isnan().all()


def test_causal_patterns_are_told_from_others_and_padding_does_not_mislead():
    assert looks_causal(patterns(1, 2, 9, causal=True)) and not looks_causal(patterns(1, 2, 9))
    pattern, real = patterns(2, 1, 9, causal=True), torch.ones(2, 9, dtype=torch.bool)
    pattern[0, 0, 0] = 1 / 9  # a padded query that looks everywhere
    assert not looks_causal(pattern)
    real[0, 0] = False
    assert looks_causal(pattern, real)


def test_a_key_that_few_queries_see_is_no_candidate():
    pattern = patterns(1, 1, 17, causal=True)
    pattern[0, 0, 1:, :] = 0
    pattern[0, 0, 1:, 1] = 1.0  # every query from 1 on looks at key 1, which only 15 later ones see
    real = torch.ones(1, 17, dtype=torch.bool)
    place, mass = dominant(summed(pattern, causal=True), queries_of(real, True))
    assert int(place) == 0 and float(mass) == 0
    short = torch.ones(1, 16, dtype=torch.bool)
    place, mass = dominant(summed(pattern[..., :16, :16], causal=True), queries_of(short, True))
    assert int(place) == -1 and bool(mass.isnan())
    assert not counted(place, short, True).any()


def test_the_strength_of_gu_counts_the_queries_that_can_see():
    pattern = patterns(2, 3, 64, causal=True, seed=5)
    sums = summed(pattern, causal=True)
    found = first_token_strength(sums, queries_of(torch.ones(2, 64, dtype=torch.bool), True))
    for k in (0, 7, 63):
        torch.testing.assert_close(found[..., k], pattern[..., k:, k].mean(-1))
    rate = (found[..., 0] > 0.3).double().mean()
    assert 0 <= float(rate) <= 1
    sink = torch.zeros(1, 1, 64, 64, dtype=torch.float64)
    sink[..., 0] = 1.0
    alone = first_token_strength(summed(sink, causal=True), queries_of(torch.ones(1, 64).bool(), True))
    assert float(alone[0, 0, 0]) == pytest.approx(1.0)


def test_a_sink_logit_takes_its_share():
    scores, logit = randn(1, 2, 20, 20, seed=3), torch.tensor([0.5, 3.0], dtype=torch.float64)
    wide = torch.cat([scores, logit.view(1, 2, 1, 1).expand(1, 2, 20, 1)], -1).softmax(-1)
    found = virtual_mass(summed(wide[..., :20]), torch.ones(1, 20, dtype=torch.bool))
    torch.testing.assert_close(found, wide[..., 20].mean(-1))
    none = virtual_mass(summed(scores.softmax(-1)), torch.ones(1, 20, dtype=torch.bool))
    torch.testing.assert_close(none, torch.zeros_like(none), atol=1e-14, rtol=0)


def test_the_two_rules_and_a_wide_epsilon():
    column = torch.full((1, 1, 20), 0.95, dtype=torch.float64)
    column[..., 3] = 0.05
    facts = column_facts(column, torch.ones(1, 1, 20, dtype=torch.bool))
    assert facts.routed[:, 0, 0].tolist() == [0.95] * 4
    assert bool(operational(facts.routed[0])) and not bool(literal(facts.least, 0.5))
    column[..., 3] = 0.75
    least = column_facts(column, torch.ones(1, 1, 20, dtype=torch.bool)).least
    assert [bool(literal(least, eps)) for eps in EPSILONS] == [True, True, False, False]
    half = column_facts(torch.full((1, 1, 20), 0.5).double(), torch.ones(1, 1, 20, dtype=torch.bool))
    assert half.routed[:, 0, 0].tolist() == [1, 0, 0, 0] and bool(
        literal(half.least, 0.5)
    )  # exactly is enough
    nothing = column_facts(column, torch.zeros(1, 1, 20, dtype=torch.bool))
    assert nothing.routed.isnan().all() and not operational(nothing.routed).any()
    for wide in (0.6, -0.1):
        with pytest.raises(ValueError, match="exact for 0 to 0.5"):
            check_epsilons([wide])
        with pytest.raises(ValueError, match="exact for 0 to 0.5"):
            literal(least, wide)

"""Phases that were planted, phases that are not there, and the dynamic programme beside brute force."""

from __future__ import annotations

from itertools import combinations

import pytest
import torch

from steerlab.numerics import segmentation as seg
from steerlab.numerics.affine import pair_moments, shared_errors

DRAWS = 200


def states(phases: tuple[int, ...], drift: float, seed: int) -> torch.Tensor:
    """Steps of length `drift` (a coordinate) inside a phase, of length 1 at a boundary, ``[state, 64]``."""
    generator = torch.Generator().manual_seed(seed)
    lengths = [
        1.0 if start and not inside else drift for start, n in enumerate(phases) for inside in range(n)
    ]
    steps = torch.randn(len(lengths), 64, generator=generator, dtype=torch.float64)
    steps[1:] *= torch.tensor(lengths[1:]).double()[:, None]
    return steps.cumsum(0)


def apart(path: torch.Tensor) -> torch.Tensor:
    unit = path / path.norm(dim=-1, keepdim=True)
    return 1 - unit @ unit.T


def found(phases: tuple[int, ...], drift: float, objective: str) -> int:
    wanted = tuple(torch.tensor(phases).cumsum(0)[:-1].tolist())
    tables = (seg.segment_costs(apart(states(phases, drift, i)), objective=objective) for i in range(DRAWS))
    return sum(seg.best_segments(table, len(phases)).cuts == wanted for table in tables)


@pytest.mark.parametrize("objective", seg.OBJECTIVES)
def test_phases_7_3_2_with_a_small_drift_are_always_found(objective):
    assert found((7, 3, 2), 0.1, objective) == DRAWS


def test_uneven_phases_are_lost_by_the_plain_cut_and_by_both_in_a_large_drift():
    assert found((9, 2, 1), 0.2, "sum") == 0
    assert found((9, 2, 1), 0.2, "mean") > 0.9 * DRAWS
    assert found((9, 2, 1), 0.4, "sum") == found((9, 2, 1), 0.4, "mean") == 0


@pytest.mark.parametrize("objective", seg.OBJECTIVES)
def test_a_path_without_phases_is_cut_all_the_same(objective):
    place = torch.arange(12.0)
    drifting = (place[:, None] - place[None, :]).abs()
    table = seg.segment_costs(drifting, objective=objective)
    assert seg.best_segments(table, 2).cuts == (6,) == seg.equal_cuts(12, 2)
    assert seg.best_segments(table, 3).cuts == (4, 8) == seg.equal_cuts(12, 3)
    walk = seg.segment_costs(apart(states((12,), 0.2, 0)), objective=objective)
    assert len(seg.best_segments(walk, 3).cuts) == 2


def test_equal_distances_leave_no_margin_over_equal_cuts_and_phases_do():
    same = 1 - torch.eye(12)
    assert [seg.margin(seg.segment_costs(same), k) for k in (2, 3, 4)] == [0.0, 0.0, 0.0]
    planted = seg.segment_costs(apart(states((7, 3, 2), 0.1, 0)))
    assert seg.margin(planted, 3) > 0.1


@pytest.mark.parametrize("objective", seg.OBJECTIVES)
@pytest.mark.parametrize("least", [1, 2])
def test_the_dynamic_programme_is_as_good_as_trying_every_cut(objective, least):
    random = torch.rand(9, 9, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    pairs = random + random.T
    table = seg.segment_costs(pairs, objective=objective)
    for count in (1, 2, 3, 4):
        tried = {}
        for cuts in combinations(range(1, 9), count - 1):
            edges = (0, *cuts, 9)
            spans = list(zip(edges, edges[1:], strict=False))
            if min(b - a for a, b in spans) < least:
                continue
            inside = [sum(float(pairs[i, j]) for i in range(a, b) for j in range(i + 1, b)) for a, b in spans]
            if objective == "mean":
                inside = [
                    2 * c / (b - a - 1) if b - a > 1 else 0.0 for c, (a, b) in zip(inside, spans, strict=True)
                ]
            tried[cuts] = sum(inside)
        best = seg.best_segments(table, count, least=least)
        assert best.cost == pytest.approx(min(tried.values())) == pytest.approx(tried[best.cuts])
        assert seg.cost_of(table, best.cuts) == pytest.approx(best.cost)


def test_the_nulls_keep_what_they_should_and_lose_the_phases():
    path = states((7, 3, 2), 0.1, 5)
    null = seg.shuffled_increments(path, torch.Generator().manual_seed(0))
    lengths = [steps.diff(dim=0).norm(dim=-1).sort().values for steps in (path, null)]
    assert torch.allclose(null[[0, -1]], path[[0, -1]]) and torch.allclose(*lengths)
    cuts = [
        seg.best_segments(
            seg.segment_costs(apart(seg.shuffled_increments(path, torch.Generator().manual_seed(i)))), 3
        ).cuts
        for i in range(20)
    ]
    assert len(set(cuts)) > 5 and cuts.count((7, 10)) < 5
    table = apart(path)
    smooth = seg.smooth_drift(table)
    assert torch.allclose(smooth.diagonal(4), table.diagonal(4).mean()) and torch.equal(smooth, smooth.T)


def test_shared_affine_maps_find_the_cut_that_similarity_does_not_know():
    """Two affine maps, one applied 7 times and one 5 times: the functional criterion is exact."""
    generator = torch.Generator().manual_seed(3)

    def turn() -> torch.Tensor:
        return torch.linalg.qr(torch.randn(6, 6, generator=generator, dtype=torch.float64))[0]

    maps = [turn(), turn()]
    state = torch.randn(200, 6, generator=generator, dtype=torch.float64)
    path = [state]
    for step in range(12):
        path.append(path[-1] @ maps[step >= 7] + 0.1)
    errors = shared_errors([pair_moments(a, b) for a, b in zip(path, path[1:], strict=False)])
    best = seg.best_segments(errors, 2)
    assert best.cuts == (7,) and best.cost < 1e-8
    assert min(seg.cost_of(errors, (cut,)) for cut in (5, 6, 8, 9)) > 10


def test_wrong_questions_are_refused():
    with pytest.raises(ValueError, match="square table"):
        seg.segment_costs(torch.zeros(3, 4))
    with pytest.raises(ValueError, match="median"):
        seg.segment_costs(torch.zeros(3, 3), objective="median")
    with pytest.raises(ValueError, match="do not part into 4 segments"):
        seg.best_segments(torch.zeros(4, 4), 4)

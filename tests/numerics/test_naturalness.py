"""Energies and coherence on the ring with seven values, beside the figures of the methods."""

from __future__ import annotations

import planted_ring
import pytest
import torch
from planted_ring import PAIRS, TURN, gap_of, in_order, ring, steered, wrong_orders

from steerlab.bases import Shape, fit_manifold
from steerlab.numerics.naturalness import coherence, energy, energy_to_geodesic
from steerlab.numerics.significance import paired_t_test

MODES = ("manifold", "linear", "linear_subspace")


@pytest.fixture(scope="module")
def behaviours():
    """Distributions ``[pair, prompt, waypoint, outcome]`` for each mode, on 16 prompts drawn once."""
    planted, (manifold, _) = ring(), planted_ring.fitted()
    drawn = torch.randperm(70, generator=torch.Generator().manual_seed(5))[:16]
    return {
        mode: torch.stack(
            [planted.read(steered(manifold.path(*p, mode=mode), planted.x[drawn])) for p in PAIRS]
        )
        for mode in MODES
    }


@pytest.fixture(scope="module")
def energies(behaviours):
    """Energy ``[pair]`` of each mode, the mean over prompts."""
    _, behaviour = planted_ring.fitted()
    return {mode: energy(behaviours[mode], behaviour).mean(1) for mode in MODES}


def test_energies_are_those_of_the_methods(energies):
    along, chord, inside = (energies[mode] for mode in MODES)
    assert float(along.mean()) == pytest.approx(0.032, abs=0.003)
    assert float(along.std()) < 1e-3
    assert float(chord.mean()) == pytest.approx(6.29, abs=0.02)
    assert float(chord.std() / 21**0.5) == pytest.approx(1.61, abs=0.01)
    # the read-out sees nothing of what the linear path drops, so the fair baseline does as badly
    torch.testing.assert_close(inside, chord, rtol=1e-3, atol=1e-4)
    t, p = paired_t_test((chord - along)[:, None])
    assert float(t) > 3 and float(p) < 2e-3
    assert float(along.mean() / chord.mean()) < 0.02


@pytest.mark.parametrize(("gap", "chord"), [(1, 0.110), (2, 2.38), (3, 16.4)])
def test_energy_of_a_chord_grows_with_the_gap_and_that_of_the_curve_does_not(energies, gap, chord):
    chosen = torch.tensor([gap_of(*pair) == gap for pair in PAIRS])
    assert int(chosen.sum()) == 7
    assert float(energies["manifold"][chosen].mean()) == pytest.approx(0.032, abs=0.003)
    assert float(energies["linear"][chosen].mean()) == pytest.approx(chord, rel=0.02)


def test_mass_on_something_else(behaviours):
    unsteered = ring().read(ring().x)[:, -1].max()
    most = {mode: float(behaviours[mode][..., -1].amax((1, 2)).mean()) for mode in MODES}
    assert most["manifold"] == pytest.approx(0.022, abs=1e-3)
    assert most["linear"] == pytest.approx(0.417, abs=2e-3)
    assert float(unsteered) == pytest.approx(0.02, abs=4e-3)
    mean, least = coherence(behaviours["linear"])
    torch.testing.assert_close(least, 1 - behaviours["linear"][..., -1].amax(-1))
    assert bool((least < mean).all()) and float(mean.mean()) < 0.9
    assert float(coherence(behaviours["manifold"])[0].mean()) == pytest.approx(0.98, abs=2e-3)


def test_the_sum_grows_with_waypoints_and_the_mean_does_not():
    planted, (manifold, behaviour) = ring(), planted_ring.fitted()
    base = planted.x[:2]
    few, many = (planted.read(steered(manifold.path(0, 3, count=n), base)) for n in (50, 200))
    assert float((energy(many, behaviour) / energy(few, behaviour)).mean()) == pytest.approx(4, rel=0.05)
    ratio = energy(many, behaviour, reduce="mean") / energy(few, behaviour, reduce="mean")
    assert float(ratio.mean()) == pytest.approx(1, rel=0.05)
    with pytest.raises(ValueError, match="'sum' or 'mean'"):
        energy(few, behaviour, reduce="max")


def test_being_at_the_right_point_too_late_costs_against_the_geodesic_alone():
    _, behaviour = planted_ring.fitted()
    way = behaviour.geodesic(0, 2)
    assert float(energy_to_geodesic(way, behaviour, start=0, end=2)) < 1e-3
    late = torch.cat([way[:1].expand(10, -1), way[:-10]])
    assert float(energy(late, behaviour)) < 1e-3
    assert float(energy_to_geodesic(late, behaviour, start=0, end=2)) > 1


def test_a_wrong_order_of_the_values_shows_in_the_energy():
    planted, (manifold, behaviour) = ring(), planted_ring.fitted()
    base = planted.clean(torch.zeros(1, dtype=torch.float64))

    def mean_energy(man):
        return float(
            energy(
                torch.stack([planted.read(steered(man.path(*p), base)) for p in PAIRS[::3]]), behaviour
            ).mean()
        )

    assert mean_energy(manifold) == pytest.approx(0.035, abs=0.006)
    every = wrong_orders()
    wrong = []
    for order in every[::36]:
        shape = Shape(coords=in_order(order), periods=(TURN,))
        wrong.append(mean_energy(fit_manifold(planted.x, planted.labels, shape=shape, pca=16)))
    assert len(every) == 359 and min(wrong) > 0.2 and sorted(wrong)[5] > 2


def test_a_path_that_the_read_out_does_not_see_changes_no_behaviour():
    planted, (manifold, behaviour) = ring(), planted_ring.fitted()
    blind = torch.eye(64, dtype=torch.float64) - planted.frame[:2].T @ planted.frame[:2]
    path = manifold.path(0, 3)
    base = planted.x[:3]
    moved = base[:, None] + (path.points - path.points[0]) @ blind
    assert float((moved - base[:, None]).norm(dim=-1).amax()) > 1
    unsteered = planted.read(base)
    torch.testing.assert_close(planted.read(moved), unsteered[:, None].expand(-1, 50, -1), atol=1e-12, rtol=0)
    torch.testing.assert_close(
        energy(planted.read(moved), behaviour), 50 * behaviour.nearest(planted.read(base))[1]
    )

"""Geodesics as paths of steering: on the ring they lie between the chord and the manifold."""

from __future__ import annotations

import planted_ring
import pytest
import torch
from planted_ring import ring, steered

from steerlab.bases.geodesics import behaviour_metric, density_metric, geodesic_path
from steerlab.bases.paths import Path
from steerlab.edits import Replace
from steerlab.errors import SteerlabError
from steerlab.numerics.geodesics import Descent, measured
from steerlab.numerics.naturalness import energy

ENDS = (0, 3)
QUICK = Descent(40, bows=(0.2,), steps=60)


@pytest.fixture(scope="module")
def man():
    return planted_ring.fitted()[0]


def cost(path: Path) -> float:
    """How unnatural behaviour is along a path, a mean over prompts."""
    found = ring().read(steered(path, ring().x[::9]))
    return float(energy(found, planted_ring.fitted()[1]).mean())


def length(path: Path) -> float:
    return float(path.points.diff(dim=0).norm(dim=-1).sum())


def ring_codes(man):
    return (ring().x - man.mean) @ man.frame[:16].T


def compared_ways(man, path):
    """Costs and lengths of the manifold's path, this one and the chord, equally many waypoints each."""
    ways = [man.path(*ENDS, count=len(path)), path, man.path(*ENDS, count=len(path), mode="linear_subspace")]
    return [cost(one) for one in ways], [length(one) for one in ways]


@pytest.mark.parametrize("kind", ["inverse_density", "energy"])
def test_where_data_are_dense_is_the_way_and_it_cuts_corners(man, kind):
    metric = density_metric(man, ring().x, kind=kind)
    path = geodesic_path(man, metric, ends=ENDS, descent=QUICK)
    costs, lengths = compared_ways(man, path)
    assert costs[0] < costs[1] < 0.05 * costs[2]
    assert lengths[2] * 1.2 < lengths[1] < lengths[0]
    places = (path.points - man.mean) @ man.frame[:16].T
    chord = places[0] + torch.linspace(0, 1, 40, dtype=torch.float64)[:, None] * (places[-1] - places[0])
    assert measured(metric, places).length < 0.8 * measured(metric, chord).length
    assert metric.zero == pytest.approx(float(metric.energy(ring_codes(man)).quantile(0.5)))


def test_where_behaviour_is_natural_is_the_way(man):
    behaviour = planted_ring.fitted()[1]

    def read(h: torch.Tensor) -> torch.Tensor:
        """Three prompts that say the same."""
        return ring().read(h)[:, None].expand(-1, 3, -1)

    metric = behaviour_metric(man, ring().x, read=read, behaviour=behaviour, components=4)
    path = geodesic_path(man, metric, ends=ENDS, components=4, descent=Descent(40, bows=(0.3,), steps=40))
    costs, lengths = compared_ways(man, path)
    assert costs[1] < 1.5 * costs[0] < 0.01 * costs[2]
    assert lengths[2] * 1.2 < lengths[1] < 1.1 * lengths[0]


def test_waypoints_are_even_and_replace_their_components_alone(man):
    path = geodesic_path(man, density_metric(man, ring().x), ends=ENDS, descent=QUICK)
    steps = path.points.diff(dim=0).norm(dim=-1)
    assert float(steps.std() / steps.mean()) < 1e-2  # chords of a line of as many points
    assert path.fractions.tolist()[0] == 0 and len(path) == 40 and len(path.basis) == 16
    x = ring().x[:40]
    after = Replace(path.points[:, None], path.basis)(x[:, None])[:, 0]
    torch.testing.assert_close(
        (after - man.mean) @ man.frame.T, (path.points - man.mean) @ man.frame.T, atol=1e-4, rtol=0
    )
    across = torch.eye(64) - (man.frame.T @ man.frame)
    torch.testing.assert_close(after @ across, x @ across, atol=1e-4, rtol=0)
    ends = man.point(0), man.point(3)
    torch.testing.assert_close(path.points[[0, -1]], torch.stack(ends), atol=1e-6, rtol=0)


MISTAKES = {
    "too many components": (lambda man: density_metric(man, ring().x, components=17), "takes 1 to 16"),
    "other width": (lambda man: density_metric(man, ring().x[:, :5]), r"are not \[sample, 64\]"),
    "two activations": (lambda man: density_metric(man, ring().x[:2]), "a density of 2 activations"),
    "kind": (
        lambda man: density_metric(man, ring().x, kind="density"),
        "it is 'energy' or 'inverse_density'",
    ),
    "nowhere": (
        lambda man: geodesic_path(man, lambda z: z.sum(-1) * 0 + 1, ends=(2, 2)),
        "a geodesic runs between two points",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_what_has_no_geodesic_is_refused(man, name):
    ask, says = MISTAKES[name]
    with pytest.raises(SteerlabError, match=says):
        ask(man)

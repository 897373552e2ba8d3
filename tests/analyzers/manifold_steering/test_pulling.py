"""Pullback through a read-out: it finds the manifold, plugs into Replace, and goes on where it was killed."""

from __future__ import annotations

import planted
import planted_ring
import pytest
import torch
from planted_ring import PAIRS, TURN, gap_of, ring

from steerlab.analyzers.manifold_steering.pulling import Pullback, Pulling, free_components, pulled_back
from steerlab.edits import Replace
from steerlab.errors import SteerlabError
from steerlab.keeping import keeping
from steerlab.numerics.pullback import Search
from steerlab.numerics.simplex import roots

PULLING = Pulling(free=8)
FAR = [pair for pair in PAIRS if gap_of(*pair) >= 2]


class Model:
    """Prompts of one value on the ring and a count of how often they are read."""

    def __init__(self, value: int, free: int = 8) -> None:
        known = ring()
        g = planted.generator(value)
        noise = planted.randn(16, 8, g=g) @ known.frame[5:13] + 0.15 * planted.randn(16, 64, g=g)
        self.own = known.clean(torch.tensor(value * TURN / 7, dtype=torch.float64)) + noise
        self.basis = free_components(planted_ring.fitted()[0], free)
        self.reads = 0

    def __call__(self, points: torch.Tensor) -> torch.Tensor:
        """Distributions ``[waypoint, prompt, outcome]``."""
        self.reads += 1
        return ring().read(Replace(points[:, None], self.basis)(self.own.expand(len(points), -1, -1)))


def pull(model: Model, ends: tuple[int, int], pulling: Pulling = PULLING) -> Pullback:
    """The path between two values."""
    manifold, behaviour = planted_ring.fitted()
    return pulled_back(model, manifold, behaviour=behaviour, ends=ends, pulling=pulling)


def test_a_path_that_follows_behaviour_lies_on_the_manifold_of_activations():
    found = {pair: pull(Model(pair[0]), pair) for pair in FAR}
    r2, chord = (
        torch.tensor([getattr(one, what) for one in found.values()]) for what in ("agreement", "chord")
    )
    assert len(FAR) == 14 and bool((r2 > chord).all())
    assert float(r2.mean()) == pytest.approx(0.97, abs=0.01)
    assert float(chord.mean()) == pytest.approx(0.42, abs=0.01)
    for pair, one in found.items():
        assert float(one.losses[-1]) < 2e-2 < 0.1 * float(one.losses[0])
        assert one.distance < one.chord_distance and 0.9 < one.length < 1.1
        # steering with it does what the loss says: squared Hellinger distances to the wanted path
        after = ring().read(planted_ring.steered(one.path, Model(pair[0]).own))
        wanted = roots(planted_ring.fitted()[1].geodesic(*pair, 20))
        loss = (roots(after) - wanted).square().sum(-1).div(2).mean(0).sum()
        assert float(loss) == pytest.approx(float(one.losses[-1]), rel=1e-4)
    assert one.path.points.shape == (20, 64) and len(one.path.basis) == 8


def test_a_killed_search_goes_on_where_it_was(tmp_path):
    pulling = Pulling(free=8, search=Search(rounds=9, tolerance=0.0), piece=3)
    whole = pull(Model(0), (0, 3), pulling)
    assert len(whole.losses) == 10

    class Killed(Model):
        """One that stops in the middle of the second piece."""

        def __call__(self, points: torch.Tensor) -> torch.Tensor:
            """Stops."""
            if self.reads == 30:
                raise KeyboardInterrupt
            return Model.__call__(self, points)

    with keeping(tmp_path), pytest.raises(KeyboardInterrupt):
        pull(Killed(0), (0, 3), pulling)
    model = Model(0)
    with keeping(tmp_path) as keeper:
        again = pull(model, (0, 3), pulling)
    assert keeper.reused == 1
    assert torch.equal(again.path.points, whole.path.points) and torch.equal(again.losses, whole.losses)
    full = Model(0)
    pull(full, (0, 3), pulling)
    assert model.reads < full.reads


@pytest.mark.parametrize("free", [1, 17])
def test_components_that_are_not_there_are_refused(free):
    with pytest.raises(SteerlabError, match=rf"free={free}: this manifold has 16 components"):
        pull(Model(0), (0, 3), Pulling(free=free))

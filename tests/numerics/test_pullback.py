"""Pullback on the ring: optimised paths lie on the activation manifold, which they know nothing of."""

from __future__ import annotations

import planted
import planted_ring
import pytest
import torch
from planted_ring import PAIRS, PROMPTS, TURN, gap_of, ring

from steerlab.numerics.pullback import Search, agreement, pullback, to_polyline

FREE = 8


def followed(a: int, b: int, search: Search | None = None):
    """The path pulled back from value a to value b, its chord, and the manifold between them."""
    planted_, (manifold, behaviour) = ring(), planted_ring.fitted()
    g = planted.generator(a)
    noise = planted.randn(16, 8, g=g) @ planted_.frame[5:13] + 0.15 * planted.randn(16, 64, g=g)
    h = planted_.clean(torch.tensor(a * TURN / 7, dtype=torch.float64)) + noise
    own = (h - manifold.mean) @ manifold.frame.T
    kept = h - own[:, :FREE] @ manifold.frame[:FREE]
    start, end = manifold.values[a, :FREE], manifold.values[b, :FREE]

    def read(points):
        return planted_.read(kept + (points @ manifold.frame[:FREE])[:, None])

    found = pullback(read, behaviour.geodesic(a, b, 20), start=start, end=end, search=search)
    t = torch.linspace(0, 1, 200, dtype=torch.float64)[:, None]
    line = manifold.surface.at(manifold.place(a) + t * manifold.shift(a, b))[:, :FREE]
    chord = start + torch.linspace(0, 1, 20, dtype=torch.float64)[:, None] * (end - start)
    return found, chord, line


def test_paths_of_all_far_pairs_find_the_manifold():
    far = [pair for pair in PAIRS if gap_of(*pair) >= 2]
    results = [followed(*pair) for pair in far]
    r2 = torch.tensor([agreement(found.points, line) for found, _, line in results])
    chord = torch.tensor([agreement(straight, line) for _, straight, line in results])
    assert len(far) == 14 and PROMPTS == 10
    assert float(r2.mean()) == pytest.approx(0.97, abs=0.01)
    assert float(chord.mean()) == pytest.approx(0.42, abs=0.01)
    assert bool((r2 > chord).all())
    last = torch.stack([found.losses[-1] for found, _, _ in results])
    assert float(last.max()) < 2e-2 and float(last.min()) > 2e-3
    assert all(float(found.losses[0]) > 20 * float(found.losses[-1]) for found, _, _ in results)


def test_a_penalty_keeps_the_norm_between_those_of_the_ends():
    free, _, _ = followed(0, 3)
    held, _, _ = followed(0, 3, Search(weight=1.0, rounds=5))

    def away(found):
        ends = planted_ring.fitted()[0].values[[0, 3], :FREE].norm(dim=-1)
        t = torch.linspace(0, 1, 20, dtype=torch.float64)
        return float((found.points.norm(dim=-1) - (1 - t) * ends[0] - t * ends[1]).abs().mean())

    assert away(held) < 0.5 * away(free)


def test_where_behaviour_is_position_the_wanted_path_comes_back():
    t = torch.linspace(0, 1, 15, dtype=torch.float64)
    wanted = torch.stack([0.2 + 0.6 * t, 0.1 + 0.3 * (3 * t).sin().square()], -1)
    wanted = torch.cat([wanted, 2 - wanted.sum(-1, keepdim=True)], -1) / 2

    def read(points):
        return torch.cat([points, 2 - points.sum(-1, keepdim=True)], -1)[:, None] / 2

    found = pullback(
        read, wanted, start=2 * wanted[0, :2], end=2 * wanted[-1, :2], search=Search(tolerance=1e-6)
    )
    torch.testing.assert_close(found.points, 2 * wanted[:, :2], atol=2e-3, rtol=0)
    assert found.controls.shape == (10, 2) and found.points.shape == (15, 2)
    assert float(found.losses[-1]) < 1e-5 < float(found.losses[0])


def test_distance_from_a_line_is_from_its_segments_not_from_its_vertices():
    line = torch.tensor([[0.0, 0.0], [10.0, 0.0], [10.0, 10.0]])
    points = torch.tensor([[5.0, 1.0], [12.0, 5.0], [-3.0, 4.0], [10.0, 0.0]])
    torch.testing.assert_close(to_polyline(points, line), torch.tensor([1.0, 2.0, 5.0, 0.0]))


def test_agreement_is_whole_on_the_line_and_blind_to_where_the_line_does_not_go():
    t = torch.linspace(0, 3, 100, dtype=torch.float64)
    line = torch.stack([t.cos(), t.sin(), 0 * t], -1)
    on = line[::7] + torch.tensor([0.0, 0.0, 5.0])
    assert agreement(on, line) == pytest.approx(1.0, abs=1e-9)
    chord = line[0] + torch.linspace(0, 1, 20, dtype=torch.float64)[:, None] * (line[-1] - line[0])
    assert agreement(chord, line) < 0.5
    assert agreement(line[50:51].expand(5, 3) * 3 + chord[:5] * 1e-3, line) == 0.0


def test_a_path_of_one_point_is_refused():
    with pytest.raises(ValueError, match="two controls or more"):
        pullback(lambda p: p[:, None], torch.ones(1, 2), start=torch.zeros(2), end=torch.ones(2))

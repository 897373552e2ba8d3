"""Measures on the sphere, where the trajectory is known."""

from __future__ import annotations

import math

import pytest
import torch

from steerlab.numerics import ranks, spheres

GENERATOR = torch.Generator().manual_seed(0)


def random(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=GENERATOR, dtype=torch.float64)


def turning(steps: int = 12, omega: float = 0.1) -> torch.Tensor:
    """A path that turns by `omega` a step in a random plane while its length grows, ``[state, 16]``."""
    plane = torch.linalg.qr(random(16, 2))[0].T
    angles = omega * torch.arange(steps + 1, dtype=torch.float64)
    lengths = 1.3 ** torch.arange(steps + 1, dtype=torch.float64)
    return lengths[:, None] * (angles.cos()[:, None] * plane[0] + angles.sin()[:, None] * plane[1])


def test_a_path_that_turns_evenly_has_its_speed_and_its_convergence():
    path = turning()
    assert torch.allclose(spheres.speed(path), torch.full((12,), 0.1, dtype=torch.float64), atol=1e-15)
    wanted = (0.1 * (12 - torch.arange(13, dtype=torch.float64))).cos()
    assert torch.allclose(spheres.convergence(path), wanted, atol=1e-15)


@pytest.mark.parametrize("size", [1e-7, 1e-4, 0.3, math.pi / 2, 3.0, math.pi - 1e-6])
def test_angles_are_exact_where_the_arc_cosine_is_not(size):
    plane = torch.linalg.qr(random(5, 2))[0].T
    other = 2.5 * (math.cos(size) * plane[0] + math.sin(size) * plane[1])
    assert float(spheres.angle(plane[0], other)) == pytest.approx(size, rel=1e-8, abs=1e-15)
    assert size > 1e-6 or abs(math.acos(float(plane[0] @ other) / 2.5) - size) > 1e-5 * size


def test_the_ranks_of_updates_count_planted_directions_and_read_both_sides():
    left, right = torch.linalg.qr(random(40, 6))[0], torch.linalg.qr(random(24, 6))[0]
    steps = torch.stack([left @ right.T, torch.outer(left[:, 0], right[:, 0])])
    states = torch.cat([random(1, 40, 24), steps]).cumsum(0)
    spectra = spheres.update_spectra(states)
    for rank in (ranks.stable_rank, ranks.participation_ratio, ranks.entropy_rank):
        assert rank(spectra).tolist() == pytest.approx([6, 1], abs=1e-6)
    assert torch.allclose(spheres.update_spectra(states.mT), spectra, atol=1e-9)


def test_coherence_of_random_directions_and_of_a_common_one():
    assert float(spheres.mean_resultant(random(400, 64))) == pytest.approx(400**-0.5, rel=0.2)
    common = spheres.unit(random(512))
    for snr, wanted in ((1, 0.707), (3, 0.949), (10, 0.995)):
        cloud = snr * common + random(4000, 512) / 512**0.5
        assert float(spheres.mean_resultant(cloud)) == pytest.approx(wanted, abs=0.005)


def test_an_attractor_contracts_a_perturbation_step_by_step():
    goal = spheres.unit(random(32))
    state = spheres.unit(random(32))
    other = spheres.tangent_step(state, 0.1, torch.Generator().manual_seed(1))
    assert float(state @ (other - state)) == pytest.approx(0, abs=1e-12)
    assert float(spheres.angle(state, other)) == pytest.approx(math.atan(0.1), rel=1e-9)
    angles = []
    for _ in range(12):
        angles.append(float(spheres.angle(state, other)))
        state, other = (spheres.unit(x) + 0.3 * goal for x in (state, other))
    assert angles[0] == pytest.approx(0.0997, abs=1e-3) and angles[-1] < 0.02
    assert all(b < a for a, b in zip(angles, angles[1:], strict=False))


def test_basins_lie_apart_where_classes_were_planted():
    labels = torch.arange(4).repeat_interleave(25)
    means = torch.linalg.qr(random(16, 4))[0].T
    near = means[labels] + 0.02 * random(100, 16)
    assert spheres.basin_separation(near, labels) > 5
    assert spheres.basin_separation(random(100, 16), labels) == pytest.approx(1, abs=0.05)
    test = 3 * (means[labels] + 0.1 * random(100, 16))
    assert torch.equal(spheres.nearest_mean(near, labels, test), labels)

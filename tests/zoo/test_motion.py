"""Clips of moving shapes: a shape is where the equation of motion says; one frame says nothing of it."""

import math

import pytest
import torch

from steerlab.zoo import scenes
from steerlab.zoo.motion import (
    ACCELERATIONS,
    SPEEDS,
    Motion,
    cover_motion,
    paths,
    random_motions,
    render_motion,
)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def place_on_torus(weights):
    """Centre of mass of weights [..., row, column] on a torus, [..., 2]: across, down, in pixels."""
    side = weights.shape[-1]
    turn = 2 * math.pi * (torch.arange(side) + 0.5) / side
    found = []
    for axis in (-2, -1):  # adding up the rows leaves the columns: across
        mass = weights.sum(axis)
        found.append(torch.atan2((mass * turn.sin()).sum(-1), (mass * turn.cos()).sum(-1)))
    return torch.stack(found, dim=-1) * side / (2 * math.pi)


def around(distance, side):
    return torch.remainder(distance + side / 2, side) - side / 2


@pytest.mark.parametrize("shape", scenes.SHAPES)
@pytest.mark.parametrize("side", [32, 48])
def test_the_centre_of_mass_follows_the_equation_of_motion(shape, side):
    motions = random_motions(20, seeded(1))
    clips, frames = len(motions), 16
    cover = cover_motion(
        [shape] * clips, paths(motions, frames, side), torch.full((clips,), 5.0), torch.rand(clips), side
    )
    assert cover.min() >= 0 and cover.max() == 1
    seen = place_on_torus(cover)
    for clip, motion in zip(seen, motions, strict=True):  # the equation, written out once more
        way = torch.tensor([math.cos(motion.direction), math.sin(motion.direction)])
        for t in range(frames):
            speed_at_start = motion.speed - motion.acceleration * (frames - 1) / 2
            gone = speed_at_start * t + motion.acceleration * t * t / 2
            where = side * torch.tensor(motion.start) + way * gone
            assert around(clip[t] - where, side).norm() < 0.2
    area = cover.sum((-2, -1))
    assert ((area - area.mean(1, keepdim=True)).abs() < 0.05 * area).all()  # whole also across the border


def test_speed_is_the_mean_and_acceleration_the_gain_a_frame():
    motions = [Motion(direction=0.3, speed=2.0, acceleration=0.08), Motion(math.pi / 2, 1.0)]
    steps = paths(motions).diff(dim=1)
    lengths = steps.norm(dim=-1)
    assert torch.allclose(lengths.mean(1), torch.tensor([2.0, 1.0]))
    assert torch.allclose(lengths[0].diff(), torch.full((14,), 0.08), atol=1e-4)
    assert torch.allclose(lengths[1], torch.ones(15), atol=1e-4)
    assert torch.allclose(torch.atan2(steps[0, :, 1], steps[0, :, 0]), torch.full((15,), 0.3), atol=1e-4)
    assert (steps[1, :, 1] > 0).all()  # a quarter turn is down


def test_a_rendered_clip_shows_the_shape_in_its_colour_where_it_is_covered():
    motions = [
        Motion(0.5, 1.7, 0.05, (0.9, 0.1), "square", "red"),
        Motion(4.0, 2.2, -0.1, (0.2, 0.6), "star", "cyan"),
    ]
    clips = render_motion(motions, seeded(3))
    assert clips.shape == (2, 16, 3, 32, 32) and clips.min() >= 0 and clips.max() <= 1
    still = clips.median(dim=1, keepdim=True).values  # the shape passes, the texture stays
    changed = ((clips - still).abs().sum(2) > 0.2).float()
    centres = paths(motions)
    assert around(place_on_torus(changed) - centres, 32).norm(dim=-1).max() < 1.5
    for clip, centre, motion in zip(clips, centres, motions, strict=True):
        for frame, (x, y) in zip(clip, centre.tolist(), strict=True):
            colour = frame[:, int(y) % 32, int(x) % 32]
            assert (colour - torch.tensor(scenes.COLOURS[motion.colour])).abs().max() < 0.05


def test_clips_are_reproducible():
    motions = random_motions(5, seeded(4))
    assert motions == random_motions(5, seeded(4)) != random_motions(5, seeded(5))
    clips = render_motion(motions, seeded(6))
    assert torch.equal(clips, render_motion(motions, seeded(6)))
    assert not torch.equal(clips, render_motion(motions, seeded(7)))
    assert render_motion(motions, seeded(6), frames=8, side=64).shape == (5, 8, 3, 64, 64)


def test_attributes_are_drawn_evenly():
    motions = random_motions(4000, seeded(8))
    assert {motion.shape for motion in motions} == set(scenes.SHAPES)
    assert {motion.colour for motion in motions} == set(scenes.COLOURS)
    for name, (low, high) in {
        "direction": (0, 2 * math.pi), "speed": SPEEDS, "acceleration": ACCELERATIONS
    }.items():  # fmt: skip
        values = torch.tensor([getattr(motion, name) for motion in motions])
        assert low <= values.min() and values.max() <= high
        counts = values.histc(8, low, high)
        assert ((counts - 500).abs() < 5 * 500**0.5).all()
    assert SPEEDS[0] + 7.5 * ACCELERATIONS[0] > 0  # nothing turns round, so the direction has a meaning


@pytest.mark.parametrize("frame", [0, 7, 15])
def test_the_place_at_a_single_frame_says_nothing_of_the_motion(frame):
    motions = random_motions(4000, seeded(9))
    turn = 2 * math.pi * paths(motions)[:, frame] / 32
    place = torch.cat([(k * turn).cos() for k in (1, 2)] + [(k * turn).sin() for k in (1, 2)], dim=1)
    angle = torch.tensor([motion.direction for motion in motions])
    rest = torch.tensor([(motion.speed, motion.acceleration) for motion in motions])
    motion = torch.cat([torch.stack((angle.cos(), angle.sin()), dim=1), rest], dim=1)
    table = torch.corrcoef(torch.cat([place, motion], dim=1).T)[: place.shape[1], place.shape[1] :]
    assert table.abs().max() < 4.5 / 4000**0.5  # chance alone
    apart = torch.corrcoef(motion.T) - torch.eye(4)
    assert apart.abs().max() < 4.5 / 4000**0.5

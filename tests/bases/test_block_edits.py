"""Edits of one block: swapped, set, scaled and ablated beside steps in other blocks, and its harmonics."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

import steerlab as sl
from steerlab.analyzers.blocks.steering import straight_steps
from steerlab.bases import Block
from steerlab.edits import Edit, Replace, Swap, ToPrototype
from steerlab.numerics.blocks import orthonormal_blocks
from steerlab.numerics.harmonics import harmonics, noise_about_first

DIM, SIZE, G = 12, 3, 4
SITE = "module:blocks.0"


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


ATOMS = orthonormal_blocks(torch.linalg.qr(random(DIM, G * SIZE))[0].T.contiguous(), SIZE)
SAE = sl.Dictionary(
    decoder=ATOMS,
    encoder=sl.bases.Linear(ATOMS.T.contiguous(), torch.zeros(G * SIZE), sl.bases.BlockTopK(2, SIZE)),
)
BLOCK = SAE.block(1)
FRAME = BLOCK.directions


class Turning(nn.Module):
    """A block that gives its input on, and one that turns it."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([nn.Identity(), nn.Linear(DIM, DIM, bias=False)])
        self.blocks[1].weight.data = torch.linalg.qr(random(DIM, DIM, seed=1))[0]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.blocks[1](self.blocks[0](x))


@pytest.fixture(scope="module")
def turning() -> sl.Model:
    return sl.wrap(Turning())


def inputs(fires: tuple[bool, ...] = (True, True), tokens: int = 5) -> torch.Tensor:
    """``[input, token, dim]``: block 1 where it fires, else block 2, and beside them always block 0."""
    z = 0.1 * random(len(fires), tokens, G, SIZE, seed=2)
    ways = 3 * nn.functional.normalize(random(len(fires), tokens, SIZE, seed=3), dim=-1)
    z[:, :, 0] += 3 * nn.functional.normalize(random(len(fires), tokens, SIZE, seed=4), dim=-1)
    for number, on in enumerate(fires):
        z[number, :, 1 if on else 2] += ways[number]
    return z.flatten(2) @ ATOMS


def test_a_swap_gives_each_input_the_other_ones_block_and_leaves_the_rest(turning):
    x = inputs()
    with turning.edit({SITE: Swap([1, 0], BLOCK.part)}):
        swapped = turning.capture(x, SITE)[SITE]
    assert torch.allclose(BLOCK.codes(swapped), BLOCK.codes(x).flip(0), atol=1e-5)
    assert not torch.allclose(BLOCK.codes(swapped), BLOCK.codes(x), atol=0.5)
    rest = torch.eye(DIM) - FRAME.T @ FRAME
    assert torch.allclose(swapped @ rest, x @ rest, atol=1e-5)
    assert torch.allclose(Swap([1, 0], BLOCK.part)(swapped), x, atol=1e-5)
    assert torch.equal(Swap([0, 1], BLOCK.part)(x), x)


def test_a_swap_with_an_input_without_the_block_takes_it_away_and_brings_it():
    x = inputs((True, False))
    assert bool((BLOCK.presence(x[0]) > 2).all()) and not BLOCK.presence(x[1]).any()
    step = Swap([1, 0], BLOCK.part)(x) - x
    m = BLOCK.contribution(x)
    assert torch.allclose(step, m.flip(0) - m, atol=1e-5)
    assert torch.allclose((x + step)[0] @ FRAME.T, torch.zeros(5, SIZE), atol=1e-5)  # all of it, not a share
    given = Swap([0, 0], BLOCK.part)(x)  # the first input's to both
    assert torch.equal(given[0], x[0]) and torch.allclose(given[1] - x[1], m[0], atol=1e-5)


CODE = torch.tensor([0.5, -2.0, 1.0])
EDITS = {  # what becomes of the block's coordinates
    "set": (ToPrototype(BLOCK.part, CODE, active=True), lambda z: CODE.expand_as(z)),
    "scale": (sl.Scale(2.5, BLOCK.part), lambda z: 2.5 * z),
    "ablate": (sl.Zero(BLOCK.part), torch.zeros_like),
}


def later(model: sl.Model, x: torch.Tensor, edit: Edit) -> torch.Tensor:
    """The block's coordinates ``[..., atom]`` as the later layer has them."""
    with model.edit({SITE: edit}):
        out = model.capture(x, "module:blocks.1")["module:blocks.1"]
    return out @ model.module.blocks[1].weight.detach() @ FRAME.T


@pytest.mark.parametrize("name", EDITS)
def test_an_edit_of_a_block_does_what_as_long_a_step_in_another_block_does_not(name, turning):
    x = inputs((True, True, True))
    edit, wanted = EDITS[name]
    before = x @ FRAME.T
    target = wanted(before)
    missed = (before - target).norm(dim=-1).sum()
    assert torch.allclose(later(turning, x, edit), target, atol=1e-4)
    length = (edit(x) - x).norm(dim=-1, keepdim=True)
    assert torch.allclose(length[..., 0], (before - target).norm(dim=-1), atol=1e-4)  # nothing but the block
    steps, names = straight_steps((SAE, SIZE, 1), ATOMS[SIZE], 4, 0)
    share = {}
    for step, arm in zip(steps, names, strict=True):
        moved = later(turning, x, Replace(x + length * step))
        share[arm] = float(1 - (moved - target).norm(dim=-1).sum() / missed)
    other = [share[arm] for arm in names if arm.startswith("random")]
    assert (
        len(other) == 4 and max(abs(one) for one in other) < 1e-4
    )  # other blocks are orthogonal to this one
    assert max(share["single direction"], share["against it"]) < 0.6
    assert abs(share["single direction"]) > 0.01  # it does act, though


def test_a_block_removes_a_subspace_and_an_atom_a_direction():
    x = inputs()
    whole = (sl.Zero(BLOCK.part)(x) - x).square().sum(-1)
    single = [(sl.Zero(Block(SAE, [atom]).part)(x) - x).square().sum(-1) for atom in BLOCK.atoms.tolist()]
    assert torch.allclose(whole, sum(single), atol=1e-4) and bool(
        (whole > max(s.max() for s in single)).any()
    )
    assert float(whole.mean()) > 2 * float(torch.stack(single).mean())


def closed_curve(count: int = 600) -> torch.Tensor:
    """In block 1 a circle and a second harmonic; in block 0 a third, beside it a place that never moves."""
    angle = 2 * math.pi * torch.arange(count) / count
    own = torch.stack([2 * angle.cos(), 2 * angle.sin(), (2 * angle).cos()], -1)
    other = torch.stack([4 + (3 * angle).cos(), (3 * angle).sin(), torch.zeros(count)], -1)
    return own @ FRAME + other @ ATOMS[:SIZE]


def test_harmonics_of_a_blocks_contributions_are_those_of_its_own_curve():
    x = closed_curve()
    assert bool((BLOCK.presence(x) > 1.9).all())
    whole, own = harmonics(x), harmonics(BLOCK.contribution(x))
    # power of each: 4 of mode 1, 1/2 of mode 2, 1 of mode 3, which is another block's
    assert whole[:4].tolist() == pytest.approx([4 / 5.5, 0.5 / 5.5, 1 / 5.5, 0], abs=1e-5)
    assert own[:4].tolist() == pytest.approx([4 / 4.5, 0.5 / 4.5, 0, 0], abs=1e-5)
    gauge = torch.linalg.qr(random(SIZE, SIZE, seed=7))[0]
    turned = BLOCK.codes(x) @ gauge.T @ (gauge @ FRAME)
    assert torch.allclose(harmonics(turned), own, atol=1e-5)


def test_the_null_of_a_block_loses_the_noise_outside_it():
    """Noise of 1.5 in 12 dimensions, of which the block has 3: 4 / (4 + 1.5 / 4) of its power is mode 1."""
    null = noise_about_first(closed_curve(), seed=1)
    assert bool((BLOCK.presence(null) > 0).all())
    assert float(harmonics(null)[0]) == pytest.approx(4 / 5.5, abs=0.01)
    inside = harmonics(BLOCK.contribution(null))
    assert float(inside[0]) == pytest.approx(4 / 4.375, abs=0.02)
    assert float(inside[1]) < 0.02 < float(harmonics(BLOCK.contribution(closed_curve()))[1])

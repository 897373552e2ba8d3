"""Blocks: gauge-free reading, edits that keep what they do not mean, and manifolds inside a block."""

from __future__ import annotations

import dataclasses
import json
import math

import pytest
import torch

import steerlab as sl
from steerlab.bases import Block, BlockShrink, Curved, Debiased, Shape
from steerlab.bases.blocks import block_size
from steerlab.edits import Affine, Move, ToPrototype, Toward
from steerlab.errors import SteerlabError, SteerlabWarning
from steerlab.numerics.blocks import orthonormal_blocks
from steerlab.store import kinds
from steerlab.trees import built, written

DIM, SIZE, G = 12, 3, 3


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def featurizer(turned: torch.Tensor | None = None) -> sl.Dictionary:
    """Orthonormal blocks, of which block 1 may be given in other coordinates of the same subspace."""
    atoms = orthonormal_blocks(torch.linalg.qr(random(DIM, G * SIZE))[0].T.contiguous(), SIZE)
    if turned is not None:
        atoms = torch.cat([atoms[:SIZE], turned @ atoms[SIZE : 2 * SIZE], atoms[2 * SIZE :]])
    encoder = sl.bases.Linear(atoms.T.contiguous(), torch.zeros(G * SIZE), sl.bases.BlockTopK(1, SIZE))
    return sl.Dictionary(decoder=atoms, encoder=encoder)


ANGLES = 2 * math.pi * torch.arange(240) / 240
SAE = featurizer()
FRAME = SAE.decoder[SIZE : 2 * SIZE]


def ring(radius: float = 2.0) -> torch.Tensor:
    """Contributions of block 1 on a circle, which is not about 0, with a little of everything else."""
    plane = torch.stack(
        [radius * ANGLES.cos(), 0.9 * radius * ANGLES.sin(), torch.full_like(ANGLES, 1.5)], -1
    )
    return plane @ FRAME + 0.05 * random(240, DIM, seed=5)


X = ring()
OTHERS = 3 * SAE.decoder[0] + 0.1 * random(5, DIM, seed=6)  # block 0 fires here, and block 1 does not
LABELS = (torch.arange(240) // 20).tolist()
SHAPE = Shape(2 * math.pi * (torch.arange(12) + 0.475) / 12, periods=(2 * math.pi,))


def test_a_block_is_read_where_it_fires():
    block = SAE.block(1)
    assert block_size(SAE) == SIZE and block.atoms.tolist() == [3, 4, 5]
    assert bool((block.presence(X) > 1).all()) and not block.presence(OTHERS).any()
    assert torch.allclose(block.contribution(X), X @ FRAME.T @ FRAME, atol=1e-5)
    assert torch.equal(block.codes(X), SAE.encode(X)[:, 3:6])


def test_a_gauge_changes_nothing_that_is_read_or_edited():
    turn = torch.linalg.qr(random(SIZE, SIZE, seed=3))[0]
    one, two = SAE.block(1), featurizer(turn).block(1)
    assert not torch.allclose(one.codes(X), two.codes(X), atol=0.1)
    assert torch.allclose(one.presence(X), two.presence(X), atol=1e-5)
    assert torch.allclose(one.dictionary.reconstruct(X), two.dictionary.reconstruct(X), atol=1e-5)
    for centred in (False, True):
        a, b = (block.view(X, centred=centred) for block in (one, two))
        assert torch.allclose(a.coordinates(X), b.coordinates(X), atol=1e-4)
        assert torch.allclose(a.colours(X), b.colours(X), atol=1e-4)
    edits = []
    for block in (one, two):
        view = block.view(X)
        node = block.codes(X[7:8])[0]
        edits.append(
            [
                ToPrototype(block.part, node, active=True),
                Affine(view.turn(0.7), basis=block.part),
                Toward(block.curve(X, LABELS, SHAPE), torch.tensor([1.0])),
                sl.Scale(0.3, block.part),
                sl.Zero(block.part),
            ]
        )
    for first, second in zip(*edits, strict=True):
        assert torch.allclose(first(X), second(X), atol=1e-4), first
        assert not torch.allclose(first(X), X, atol=0.1)


def test_a_centred_frame_has_the_covariance_and_a_raw_one_the_second_moment():
    block = SAE.block(1)
    m = block.contribution(X).double()
    for centred in (False, True):
        view = block.view(X, centred=centred)
        data = m - m.mean(0) if centred else m
        singular, directions = torch.linalg.svd(data, full_matrices=False)[1:]
        assert torch.allclose(view.variances.double(), singular[:SIZE].square() / 240, rtol=1e-3)
        assert torch.allclose(
            (view.frame.double() @ directions[:SIZE].T).abs(), torch.eye(SIZE).double(), atol=1e-3
        )
    colours = block.view(X).colours(torch.cat([X, OTHERS]))
    assert colours.shape == (245, 3) and not colours[240:].any() and bool((colours[:240] > 0).all())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_edits_of_nothing_are_the_identity_to_the_bit(dtype):
    block, x = SAE.block(1), torch.cat([X, OTHERS]).to(dtype)
    curve = block.curve(X, LABELS, SHAPE)
    for edit in (
        sl.Scale(1.0, block.part),
        sl.Replace(x, block.part),
        Affine(torch.eye(SIZE), basis=block.part),
        Move(curve, 0.0),
        Toward(curve, torch.tensor([2.0]), 0.0),
    ):
        assert torch.equal(edit(x), x), edit


def test_where_the_block_does_not_fire_nothing_changes():
    block = SAE.block(1)
    curve = block.curve(X, LABELS, SHAPE)
    for edit in (
        ToPrototype(block.part, torch.ones(SIZE), active=True),
        Affine(block.view(X).turn(1.0), basis=block.part),
        Move(curve, 1.0),
        sl.Scale(3.0, block.part),
    ):
        assert torch.equal(edit(OTHERS), OTHERS) and not torch.equal(edit(X), X)
    everywhere = ToPrototype(block.part, torch.ones(SIZE))
    assert not torch.allclose(everywhere(OTHERS), OTHERS, atol=0.1)


def test_a_turn_moves_every_place_by_its_angle_and_keeps_presence():
    block = SAE.block(1)
    view = block.view(X, centred=False)
    plane = (0, 1)
    turned = Affine(view.turn(0.5, plane), basis=block.part)(X)
    before, after = (view.coordinates(x)[:, list(plane)] for x in (X, turned))
    angle = torch.atan2(after[:, 1], after[:, 0]) - torch.atan2(before[:, 1], before[:, 0])
    assert torch.allclose(torch.remainder(angle, 2 * math.pi), torch.full((240,), 0.5), atol=1e-3)
    assert torch.allclose(block.presence(turned), block.presence(X), atol=1e-4)
    back = Affine(view.turn(-0.5, plane), basis=block.part)(turned)
    assert torch.allclose(back, X, atol=1e-4)
    with pytest.raises(SteerlabError, match=r"plane=\(0, 3\): two different axes of the frame, 0 to 2"):
        view.turn(1.0, (0, 3))


def test_steering_along_the_curve_arrives_and_keeps_what_is_off_it():
    block = SAE.block(1)
    curve = block.curve(X, LABELS, SHAPE)
    target = 1.2
    there = torch.tensor([2.0 * math.cos(target), 1.8 * math.sin(target), 1.5]) @ FRAME
    steered = Toward(curve, torch.tensor([target]))(X)
    assert float((block.contribution(steered) - there).norm(dim=-1).max()) < 0.25
    away = torch.eye(DIM) - FRAME.T @ FRAME
    assert torch.allclose(steered @ away, X @ away, atol=1e-5)
    on = Move(curve, 0.8)(X)
    found = curve.encode(on)[:, 0]
    assert torch.allclose(
        torch.remainder(found - ANGLES - 0.8 + math.pi, 2 * math.pi), torch.tensor(math.pi), atol=0.1
    )
    with pytest.raises(SteerlabError, match=r"fires on no activation of the values \[1\]"):
        block.curve(torch.cat([X[:3], OTHERS]), [0, 0, 2, 1, 1, 1, 1, 1], SHAPE)


def test_a_curve_in_a_block_comes_back_from_a_file():
    edit = Toward(SAE.block(1).curve(X, LABELS, SHAPE), torch.tensor([2.0]))
    plain, tensors = written(edit, kinds())
    again = built(json.loads(json.dumps(plain)), tensors, kinds())
    assert torch.equal(again(X), edit(X)) and repr(again) == repr(edit)


def test_targets_off_the_data_are_told_of():
    view = SAE.block(1).view(X)
    assert torch.equal(view.target(view.codes[3]), view.codes[3])
    far = torch.tensor([9.0, 0.0, 0.0])
    with pytest.warns(SteerlabWarning, match="off the data a model may do anything"):
        view.target(far)
    nodes = view.map((1, 8), steps=800).nodes
    realised = view.realised(nodes)
    assert realised.shape == nodes.shape
    assert all(bool((view.codes == code).all(-1).any()) for code in realised.flatten(0, 1))


def test_refitted_codes_lose_the_bias_of_shrinkage(tmp_path):
    threshold = torch.full((G,), 0.8)
    encoder = dataclasses.replace(SAE.encoder, rule=BlockShrink(threshold, SIZE))
    shrunk = dataclasses.replace(SAE, encoder=encoder)
    whole = shrunk.inferring(Debiased(encoder))
    clean = X @ FRAME.T @ FRAME
    assert torch.allclose(shrunk.block(1).presence(clean), clean.norm(dim=-1) - 0.8, atol=1e-4)
    assert torch.allclose(whole.block(1).contribution(clean), clean, atol=1e-4)
    whole.save(tmp_path / "debiased.safetensors")
    again = sl.load_dictionary(tmp_path / "debiased.safetensors")
    assert torch.equal(again.encode(X), whole.encode(X)) and block_size(again) == SIZE


def test_what_has_no_blocks_is_refused_and_may_be_named():
    plain = dataclasses.replace(SAE, encoder=dataclasses.replace(SAE.encoder, rule=sl.bases.Relu()))
    with pytest.raises(SteerlabError, match="has no blocks: its codes are chosen one by one"):
        plain.block(0)
    assert Block(plain, [0, 5]).codes(X).shape == (240, 2)
    with pytest.raises(SteerlabError, match="block 3: this dictionary has blocks 0 to 2"):
        SAE.block(3)
    with pytest.raises(SteerlabError, match="fires on 0 of these 5 activations"):
        SAE.block(1).view(OTHERS)


def test_a_curved_block_names_its_atoms_and_site():
    curve = SAE.block(1).curve(X, LABELS, SHAPE)
    assert isinstance(curve, Curved) and curve.dim == DIM and curve.atoms.shape == (1, DIM)
    assert float((curve.atoms.float() @ FRAME.T @ FRAME - curve.atoms).norm()) < 1e-4
    assert curve.shift(0, 1).item() == pytest.approx(2 * math.pi / 12)

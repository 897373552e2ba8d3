"""Laws 6 and 7 over every registered edit and basis: purity and residue, on random tensors alone."""

from __future__ import annotations

import dataclasses

import pytest
import torch

import steerlab as sl
from steerlab.bases import FourierCode, Linear, Manifold, TopK
from steerlab.bases.curved import Curved
from steerlab.edits import (
    EDITS,
    Affine,
    Gate,
    LowRank,
    MeanField,
    Move,
    Recombine,
    Rotate,
    Shorten,
    ToNumber,
    ToPrototype,
    ToToken,
    Toward,
    Where,
    Window,
)

DIM = 6
DTYPES = (torch.float32, torch.bfloat16, torch.float64)


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


SUBSPACE = sl.Subspace(random(2, DIM, seed=1), origin=random(DIM, seed=2))
BASES = {
    "Subspace": SUBSPACE,
    "Direction": sl.Direction(random(DIM, seed=3)),
    "PCA": sl.PCA(random(50, DIM, seed=4) * torch.arange(1.0, DIM + 1) + 3, rank=3),
}
SAE = sl.Dictionary(
    decoder=random(9, DIM, seed=5), encoder=Linear(random(DIM, 9, seed=6), random(9), TopK(4))
)
TRANSCODER = dataclasses.replace(SAE, facts=sl.Facts(reads="blocks.1.resid_mid", site="blocks.1.mlp"))
WEEK = torch.arange(7.0)[:, None] * torch.pi * 2 / 7
RING = Manifold(
    random(DIM, seed=2),
    sl.Subspace(random(4, DIM, seed=8)).atoms,
    torch.cat([WEEK.cos(), WEEK.sin()], -1) @ random(2, DIM, seed=9) + random(DIM, seed=2),
    WEEK,
    (2 * torch.pi,),
)
CURVED = Curved(SAE.only([0, 7]), RING)
NUMBER = FourierCode((2, 5), random(3, DIM, seed=12), random(3, seed=13))
# edit: examples of it; all act on [2, 3, 6], masks on [2, 1, 3, 6] of scores
EXAMPLES = {
    "Add": [sl.Add(random(DIM), 2.0), sl.Add(random(2, 1, DIM))],
    "Affine": [
        Affine(random(DIM, DIM), random(DIM)),
        Affine(random(3, DIM, DIM)),
        Affine(random(2, 2), basis=SAE.only([0, 7])),
    ],
    "Chain": [sl.Chain([sl.Scale(2.0), sl.Zero(SUBSPACE)])],
    "Clamp": [sl.Clamp(-0.5, 0.5), sl.Clamp(low=-9.0, high=9.0), sl.Clamp(high=0.1, basis=SUBSPACE)],
    "Fn": [sl.Fn(torch.relu_), sl.Fn(lambda x: x), sl.Fn(lambda x: x.mul_(2))],
    "Gate": [Gate(), Gate(above=None, closed=0.2), Gate(above=0.1, key=-1)],
    "Listen": [sl.Listen(TRANSCODER.live())],
    "LowRank": [LowRank(2), LowRank(1, skip=1)],
    "Mask": [sl.Mask(torch.eye(3, DIM, dtype=torch.bool)), sl.Mask(torch.ones(3, DIM, dtype=torch.bool))],
    "Mean": [sl.Mean(random(4, 3, DIM)), sl.Mean(random(4, 3, DIM), by_token=True)],
    "MeanField": [MeanField(), MeanField(skip=1)],
    "Move": [Move(RING, 0.4), Move(RING, random(2, 3, 1)), Move(SUBSPACE, random(2)), Move(CURVED, 0.4)],
    "Project": [sl.Project(SUBSPACE)],
    "RandomControl": [sl.RandomControl(sl.Scale(0.5)), sl.RandomControl(sl.Scale(1.0))],
    "Recombine": [
        Recombine(random(DIM), random(2, DIM), 1, 0.0, 0.5, [1, 0], [1, 0]),
        Recombine(random(DIM), random(3, DIM)),
    ],
    "Remove": [sl.Remove(SUBSPACE)],
    "Replace": [sl.Replace(random(DIM)), sl.Replace(random(2, 3, DIM)), sl.Replace(random(DIM), SUBSPACE)],
    "Rotate": [Rotate(NUMBER, 3), Rotate(NUMBER.only([5]), random(2, 1))],
    "Scale": [sl.Scale(1.0), sl.Scale(-2.0), sl.Scale(0.5, SUBSPACE)],
    "Shorten": [Shorten(2.0), Shorten(2.5, 0.0), Shorten(2.0, random(DIM))],
    "Swap": [sl.Swap([1, 0]), sl.Swap([1, 1], SUBSPACE), sl.Swap([1, 0], SAE.only([3]))],
    "ToNumber": [ToNumber(NUMBER, 4), ToNumber(NUMBER, torch.tensor([[1], [2]]), 10.0, joint=False)],
    "ToPrototype": [
        ToPrototype(SAE.only([0, 7]), random(2), 0.5),
        ToPrototype(SUBSPACE, random(2)),
        ToPrototype(SAE.only([0, 7]), random(2), active=True),
    ],
    "ToToken": [ToToken([1, 4]), ToToken([0], token=-1, elsewhere=random(1), scale=0.5)],
    "Toward": [Toward(RING, random(1)), Toward(RING, random(1), 1.5), Toward(CURVED, random(1))],
    "Where": [Where(sl.Scale(0.5), random(DIM), 0.2), Where(sl.Replace(random(DIM), SUBSPACE), random(DIM))],
    "Window": [Window(2), Window(1, 2), Window(1, [0, 3])],
    "Zero": [sl.Zero(), sl.Zero(SUBSPACE), sl.Zero(SAE), sl.Zero(SAE.only([0, 7]))],
}
EVERY = [
    pytest.param(edit, id=f"{name} {i}") for name, edits in EXAMPLES.items() for i, edit in enumerate(edits)
]


def entry_of(edit: sl.Edit, dtype: torch.dtype) -> torch.Tensor:
    shape = (2, 1, 3, DIM) if "scores" in edit.streams else (2, 3, DIM)
    return random(*shape, seed=7).to(dtype)


def test_every_edit_of_the_library_has_an_example_here():
    ours = [name for name in EDITS if EDITS[name].__module__.startswith("steerlab.")]
    assert sorted(ours) == sorted(EXAMPLES)
    assert all(type(edit).__name__ == name for name, edits in EXAMPLES.items() for edit in edits)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("edit", EVERY)
def test_law_6_an_edit_never_touches_its_argument(edit, dtype):
    x = entry_of(edit, dtype)
    before, version = x.clone(), x._version
    y = edit(x)
    assert torch.equal(x, before) and x._version == version
    assert y.shape == x.shape and y.dtype == x.dtype


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("edit", EVERY)
def test_law_6_an_edit_gives_a_tensor_of_its_own_and_the_same_one_twice(edit, dtype):
    x = entry_of(edit, dtype)
    first = edit(x)
    assert first.untyped_storage().data_ptr() != x.untyped_storage().data_ptr()
    kept = first.clone()
    first.fill_(5.0)  # whoever writes into a result changes neither the argument nor the edit
    assert torch.equal(edit(x), kept)


@pytest.mark.parametrize("edit", EVERY)
def test_law_6_an_edit_reads_a_tensor_whose_memory_is_not_in_order(edit):
    x = entry_of(edit, torch.float32)
    strided = torch.stack([x, x], dim=-1)[..., 0]
    assert not strided.is_contiguous() and torch.equal(edit(strided), edit(x))


@pytest.mark.parametrize("edit", EVERY)
def test_law_6_a_gradient_flows_through_an_edit_that_depends_on_its_argument(edit):
    x = entry_of(edit, torch.float32).requires_grad_()
    y = edit(x)
    given = type(edit).__name__ in ("Mean", "Replace", "Zero") and getattr(edit, "basis", None) is None
    assert y.requires_grad != given
    if not given:
        y[y.isfinite()].sum().backward()
        assert x.grad.isfinite().all() and x.grad.any()


def unchanged(basis: sl.Basis, x: torch.Tensor) -> dict[str, sl.Edit]:
    """Edits that leave every coordinate as it is."""
    return {
        "Scale": sl.Scale(1.0, basis),
        "Clamp": sl.Clamp(-1e6, 1e6, basis),
        "Clamp, one bound": sl.Clamp(low=-1e6, basis=basis),
        "Replace": sl.Replace(x, basis),
    }


@pytest.mark.parametrize("dtype", (torch.float32, torch.bfloat16))
@pytest.mark.parametrize("edit", ("Scale", "Clamp", "Clamp, one bound", "Replace"))
@pytest.mark.parametrize("basis", BASES)
def test_law_7_unchanged_coordinates_are_the_identity_to_the_bit(basis, edit, dtype):
    x = (10 * random(2, 5, DIM, seed=8)).to(dtype)
    assert torch.equal(unchanged(BASES[basis], x)[edit](x), x)


@pytest.mark.parametrize("basis", BASES)
def test_law_7_the_bases_here_do_lose_something(basis):
    x, lossy = random(2, 5, DIM, seed=8), BASES[basis]
    assert not torch.allclose(lossy.decode(lossy.encode(x)), x, atol=0.1)


@pytest.mark.parametrize("basis", BASES)
def test_law_7_what_a_basis_does_not_explain_is_kept_when_its_coordinates_change(basis):
    x, basis = random(2, 5, DIM, seed=8), BASES[basis]
    away = torch.eye(DIM) - basis.atoms.T @ basis.atoms
    for edit in (sl.Zero(basis), sl.Scale(3.0, basis), sl.Clamp(0.0, 0.1, basis), sl.Replace(0 * x, basis)):
        y = edit(x)
        assert torch.allclose(y @ away, x @ away, atol=1e-5) and not torch.allclose(y, x, atol=0.1)

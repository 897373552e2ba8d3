"""Dictionaries: codes against numpy, and the closed forms of every edit in the coordinates of atoms."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from bases.sparse_dictionaries import ATOMS, BIAS, DECODER, DIM, ENCODERS, X, made, random, reference_codes

import steerlab as sl
from steerlab.bases import Dictionary, Distances, JumpRelu, Linear, Relu, TopK
from steerlab.bases.encoders import ENCODERS as KINDS
from steerlab.errors import SteerlabError

CLOSE = {"atol": 1e-12, "rtol": 0}
NAMES = sorted(ENCODERS)
LINEAR = [name for name in NAMES if name != "distances"]  # edits there stay on the simplex; see below
CHOICES = ([3], [1, 60, 5], list(range(50)))


def codes_of(name: str) -> torch.Tensor:
    return torch.from_numpy(reference_codes(name, X))


def test_every_kind_of_encoder_is_tried():
    assert {type(e).__name__ for e in ENCODERS.values()} == set(KINDS) - {"Fista"}


@pytest.mark.parametrize("name", NAMES)
def test_codes_and_reconstructions_are_numpys(name):
    sae, z = made(name), codes_of(name)
    assert torch.allclose(sae.encode(X), z, **CLOSE)
    assert torch.allclose(sae.reconstruct(X), z @ DECODER + BIAS, **CLOSE)
    assert 0 < int((z != 0).sum()) < z.numel()


@pytest.mark.parametrize("dtype", (torch.float32, torch.bfloat16, torch.float64))
@pytest.mark.parametrize("name", NAMES)
def test_law_7_unchanged_codes_are_the_identity_to_the_bit(name, dtype):
    sae, x = made(name), (3 * X).to(dtype)
    for basis in (sae, sae.only([3, 9]), sae.without([3, 9])):
        for edit in (sl.Scale(1.0, basis), sl.Clamp(-1e9, 1e9, basis), sl.Clamp(-1e9, 1e9, basis, True)):
            assert torch.equal(edit(x), x)


@pytest.mark.parametrize("atoms", CHOICES, ids=len)
@pytest.mark.parametrize("name", LINEAR)
def test_edits_of_some_codes_have_their_closed_forms(name, atoms):
    sae, z = made(name), codes_of(name)
    part, rows, some = sae.only(atoms), DECODER[atoms], z[..., atoms]
    assert torch.allclose(part.encode(X), some, **CLOSE)
    assert torch.allclose(part.part(X), some @ rows, **CLOSE)
    assert torch.allclose(sl.Zero(part)(X), X - some @ rows, **CLOSE)
    assert torch.allclose(sl.Scale(-2.0, part)(X), X - 3 * some @ rows, **CLOSE)
    assert torch.allclose(sl.Clamp(4.0, 4.0, part)(X), X + (4 - some) @ rows, **CLOSE)
    active = torch.where(some != 0, 4 - some, 0)
    assert torch.allclose(sl.Clamp(4.0, 4.0, part, active=True)(X), X + active @ rows, **CLOSE)
    assert torch.allclose(sl.Clamp(high=0.2, basis=part)(X), X + (some.clamp(max=0.2) - some) @ rows, **CLOSE)
    others = z.clone()
    others[..., atoms] = 0
    assert torch.allclose(sl.Zero(sae.without(atoms))(X), X - others @ DECODER, **CLOSE)
    assert torch.allclose(sl.Project(part)(X), some @ rows + BIAS, **CLOSE)


@pytest.mark.parametrize("name", [name for name in LINEAR if name != "batch top-k"])
def test_codes_move_between_inputs(name):
    sae, z = made(name), codes_of(name)
    part, rows = sae.only([1, 60, 5]), DECODER[[1, 60, 5]]
    step = z.flip(0)[..., [1, 60, 5]] - z[..., [1, 60, 5]]
    assert torch.allclose(sl.Swap([1, 0], part)(X), X + step @ rows, **CLOSE)
    assert torch.allclose(sl.Replace(X.flip(0), part)(X), X + step @ rows, **CLOSE)


@pytest.mark.parametrize("name", LINEAR)
def test_all_codes_scale_alike_and_the_error_goes_only_when_asked(name):
    sae, z = made(name), codes_of(name)
    assert torch.allclose(sl.Scale(2.0, sae)(X), X + z @ DECODER, **CLOSE)
    replaced = sl.Scale(2.0, sae.dropping_error())(X)
    assert torch.allclose(replaced, 2 * z @ DECODER + BIAS, **CLOSE)
    assert not torch.allclose(sl.Scale(1.0, sae.dropping_error())(X), X, atol=0.1)


@pytest.mark.parametrize("name", ("relu", "top-k"))
def test_autocast_does_not_coarsen_the_codes(name):
    sae, x = made(name), X.float()
    for edit in (sl.Zero(sae.only([3, 9])), sl.Scale(2.0, sae)):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert torch.equal(edit(x), torch.autocast("cpu", enabled=False)(edit)(x))


def test_edits_of_two_atoms_add_up_in_any_order():
    sae = made("relu")
    both = sl.Zero(sae.only([3, 9]))(X)
    apart = X + (sl.Zero(sae.only(3))(X) - X) + (sl.Zero(sae.only(9))(X) - X)
    assert torch.allclose(both, apart, **CLOSE)


def test_ablating_a_code_is_not_removing_its_direction():
    sae = made("relu")
    unit = DECODER[3] / DECODER[3].norm()

    def along(x: torch.Tensor) -> float:
        return float((x @ unit).abs().mean())

    assert along(sl.Remove(sae.span(3))(X)) < 1e-6 < 0.1 < along(sl.Zero(sae.only(3))(X))


@pytest.mark.parametrize("name", ("relu", "top-k", "gated"))
def test_gradients_are_those_of_the_dense_formula(name):
    sae = made(name)
    for edit, dense in (
        (sl.Scale(3.0, sae), lambda x: x + 2 * sae.encode(x) @ DECODER),
        (sl.Zero(sae.only([3, 9])), lambda x: x - sae.encode(x)[..., [3, 9]] @ DECODER[[3, 9]]),
    ):
        ours, theirs = X.clone().requires_grad_(), X.clone().requires_grad_()
        edit(ours).square().sum().backward()
        dense(theirs).square().sum().backward()
        assert torch.allclose(ours.grad, theirs.grad, atol=1e-10)


def test_the_simplex_is_kept_and_may_be_left_on_request():
    sae = made("distances")
    z = sae.encode(X)
    for value in (0.0, 0.3, 1.0, 5.0):
        y = sl.Clamp(value, value, sae.only(7))(X)
        step = sae.encoder.settled(z, torch.full_like(z[..., [7]], value), torch.tensor([7]))
        assert torch.allclose(step.sum(-1), torch.ones(2, 5, dtype=torch.float64)) and bool((step >= 0).all())
        assert torch.allclose(step[..., 7], torch.tensor(min(value, 1.0), dtype=torch.float64))
        others = [i for i in range(ATOMS) if i != 7]
        share = z[..., others] / z[..., others].sum(-1, keepdim=True)
        assert torch.allclose(step[..., others], share * (1 - min(value, 1.0)), **CLOSE)
        assert torch.allclose(y, X + (step - z) @ DECODER, **CLOSE)
    free = dataclasses.replace(sae, encoder=dataclasses.replace(sae.encoder, renormalise=False))
    y = sl.Clamp(5.0, 5.0, free.only(7))(X)
    assert torch.allclose(y, X + (5 - z[..., [7]]) * DECODER[7], **CLOSE)


def test_prototypes_have_their_own_code():
    prototypes = 3 * torch.eye(4)
    sae = Dictionary(decoder=torch.eye(4), encoder=Distances(prototypes, torch.tensor(0.2)))
    assert torch.allclose(sae.encode(prototypes), torch.eye(4), atol=1e-6)
    middle = (prototypes[0] + prototypes[1]) / 2
    assert torch.allclose(sae.encode(middle), torch.tensor([0.5, 0.5, 0, 0]), atol=1e-6)


def test_another_inference_on_the_same_atoms():
    codes = torch.zeros(200, ATOMS, dtype=torch.float64)
    codes.scatter_(1, torch.rand(200, ATOMS).topk(3).indices, random(200, 3).abs() + 0.5)
    sae, x = made("relu"), codes @ DECODER + BIAS
    better = sae.inferring(sl.Fista(1e-3, steps=400))

    def lost(basis: Dictionary) -> float:
        return float((basis.reconstruct(x) - x).square().mean())

    assert lost(better) < 0.02 * lost(sae)
    assert torch.equal(sl.Scale(1.0, better)(x), x)
    assert torch.allclose(sl.Zero(better.only(3))(x), x - better.encode(x)[..., [3]] @ DECODER[[3]], **CLOSE)


def test_concatenated_heads_are_read_and_written_as_heads():
    sae, heads = made("relu"), X.unflatten(-1, (4, 4))
    y = sl.Zero(sae.only(3))(heads)
    assert y.shape == heads.shape and torch.equal(y.flatten(-2), sl.Zero(sae.only(3))(X))


def test_units_turn_amounts_into_factors():
    sae = made("relu").measured([X[:1], X[1:]])
    z = codes_of("relu").reshape(-1, ATOMS)
    stats = sae.stats
    assert stats.count == 10 and stats.norm == pytest.approx(float(X.norm(dim=-1).mean()))
    for name, figure in (("mean", z.mean(0)), ("max", z.amax(0)), ("std", z.std(0, unbiased=False))):
        assert torch.allclose(getattr(stats, name), figure.float(), atol=1e-6)
    active = z[:, 3][z[:, 3] > 0].mean()
    for unit, one in (("raw", 1.0), ("max", float(z[:, 3].max())), ("active_mean", float(active))):
        assert sae.strength(3, 2.0, unit=unit) == pytest.approx(2 * one, rel=1e-5)
    by_norm = sae.strength(3, 0.5, unit="norm")
    moved = sl.Add(sae[3], by_norm)(X) - X
    assert torch.allclose(moved.norm(dim=-1), torch.tensor(0.5 * stats.norm, dtype=torch.float64))


def test_a_part_of_a_local_dictionary_is_stored_as_its_own_columns():
    part = made("gated").only([3, 9])
    kind, arguments = part.stored()
    small = arguments["dictionary"].only(arguments["index"])
    assert kind == "Part" and len(arguments["dictionary"]) == 2
    assert torch.allclose(small.encode(X), part.encode(X), **CLOSE)
    assert len(made("top-k").only([3]).stored()[1]["dictionary"]) == ATOMS


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: made("relu").only(64), r"atom 64: this dictionary has 64 atoms \(0 to 63\)"),
        (lambda: made("relu").only([1, 1]), "an atom is named twice"),
        (lambda: made("relu").only([]), "give one number or some"),
        (lambda: made("relu").only(torch.ones(3, dtype=torch.bool)), r"a mask of atoms is \[64\], not \[3\]"),
        (lambda: made("relu").encode(X[..., :5]), "reads 16 dimensions, the activation .* has 5"),
        (lambda: made("relu").strength(3, 1.0, unit="max"), "needs reference data"),
        (lambda: made("relu").measured(X).strength(3, 1.0, unit="maxx"), "did you mean 'max'"),
        (lambda: Dictionary(decoder=DECODER[:5], encoder=ENCODERS["relu"]), "gives 64 codes, .* has 5 atoms"),
        (lambda: Dictionary(decoder=DECODER, encoder=ENCODERS["relu"], bias=X[0]), r"the bias has shape"),
        (
            lambda: Dictionary(decoder=DECODER * float("nan"), encoder=ENCODERS["relu"]),
            "the dictionary's decoder: 1024 of 1024 entries are NaN",
        ),
        (lambda: sl.Swap([1, 0, 2])(X), "orders 3 rows, the activation .* has 2"),
        (lambda: sl.Swap([5]), "give one row number for each row"),
        (lambda: sl.Add(BIAS, 1.0, unit="max"), "here it is 'raw' or 'norm'"),
    ],
)
def test_mistakes_name_the_culprit(make, says):
    with pytest.raises(SteerlabError, match=says):
        make()


def test_a_transcoder_adds_what_its_codes_changed_and_nothing_of_its_skip():
    reads, writes = random(2, 5, 12, seed=1), random(2, 5, DIM, seed=2)
    sae = Dictionary(
        decoder=DECODER,
        encoder=Linear(random(12, ATOMS, seed=3), random(ATOMS), Relu()),
        skip=random(12, DIM, seed=4),
        facts=sl.Facts(reads="blocks.1.resid_mid", site="blocks.1.mlp"),
    )
    z = (reads @ sae.encoder.weight + sae.encoder.bias).relu()
    assert torch.allclose(sae.reconstruct(reads), z @ DECODER + reads @ sae.skip, **CLOSE)
    with pytest.raises(SteerlabError, match=r"reads blocks.1.resid_mid and writes blocks.1.mlp"):
        sl.Zero(sae.only(3))(writes)
    sites = sl.across(sae, lambda live: sl.Zero(live.only(3)))
    with pytest.raises(SteerlabError, match="the transcoder heard nothing"):
        sites["blocks.1.mlp"](writes)
    sites["blocks.1.resid_mid"](reads)
    for other in (sae, dataclasses.replace(sae, skip=None)):
        again = sl.across(other, lambda live: sl.Zero(live.only(3)))
        again["blocks.1.resid_mid"](reads)
        assert torch.allclose(again["blocks.1.mlp"](writes), writes - z[..., [3]] @ DECODER[[3]], **CLOSE)


def test_top_k_of_one_atom_meets_its_rivals_only_where_it_is_positive():
    class Counting(Linear):
        rows = 0

        def pre(self, x):
            Counting.rows += x.reshape(-1, DIM).shape[0]
            return Linear.pre(self, x)

    encoder = Counting(ENCODERS["top-k"].weight, ENCODERS["top-k"].bias, TopK(5))
    sae = Dictionary(decoder=DECODER, encoder=encoder, pre_bias=made("relu").pre_bias)
    sae.only(3).encode(X)
    positive = int(((X - sae.pre_bias) @ encoder.weight[:, 3] + encoder.bias[3] > 0).sum())
    assert Counting.rows == positive < 10


def test_a_local_rule_multiplies_its_own_columns_alone():
    class Refusing(Linear):
        def pre(self, x):
            raise AssertionError("the whole encoder ran")

    for rule in (Relu(), JumpRelu(torch.tensor([0.5]))):
        whole = ENCODERS["relu"]
        sae = Dictionary(decoder=DECODER, encoder=Refusing(whole.weight, whole.bias, rule))
        assert sl.Zero(sae.only([3, 9]))(X).shape == X.shape

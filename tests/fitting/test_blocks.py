"""Block-sparse featurizers: what they isolate, exact identities, constraints, and going on after a stop."""

from __future__ import annotations

import pytest
import torch
from planted_factors import isolation, planted_factors

import steerlab as sl
from steerlab.bases import Debiased
from steerlab.errors import SteerlabError
from steerlab.fitting import Fitting, fit, fit_dictionary
from steerlab.fitting.blocks import BLOCK_KINDS
from steerlab.numerics.blocks import block_norms

COUNTS = {"segment": 8, "circle": 4, "sphere": 4}


def rows(count: int = 300) -> torch.Tensor:
    return torch.randn(count, 8, generator=torch.Generator().manual_seed(0))


def test_blocks_isolate_factors_that_single_directions_only_rebuild():
    """Structuring Sparsity's toy in small: the directions rebuild more, and say less of any one factor."""
    train = planted_factors(COUNTS, 32, 2, 8000, 100).rows
    test = planted_factors(COUNTS, 32, 2, 2000, 101)
    x, found, rebuilt = test.rows, {}, {}
    asked = {"block": (96, {"k": 2, "block": 3, "auxiliary": 0.0}), "topk": (64, {"k": 4})}
    for kind, (atoms, own) in asked.items():
        settings = Fitting(steps=900, batch=256, lr=5e-3, **own)
        sae = fit_dictionary(train, atoms, kind=kind, settings=settings)
        codes = sae.encode(x)
        rebuilt[kind] = float((x - sae.decode(codes)).square().sum() / x.square().sum())
        found[kind] = float(isolation(codes, sae.atoms, test, own.get("block")).mean())
    assert found["block"] > 0.8 and found["topk"] < 0.65
    assert found["block"] - found["topk"] > 0.25
    assert rebuilt["topk"] < rebuilt["block"] < 0.1


def test_one_grassmannian_block_that_holds_the_data_rebuilds_it():
    x = rows() @ torch.linalg.qr(torch.randn(8, 8, generator=torch.Generator().manual_seed(1)))[0]
    settings = Fitting(k=1, block=8, steps=60, batch=128, lr=1e-2)
    sae = fit_dictionary(x, 8, kind="grassmannian", settings=settings)
    gram = sae.decoder @ sae.decoder.T
    assert torch.allclose(gram, torch.eye(8), atol=1e-5)
    gamma = (sae.encoder.weight * sae.decoder.T).sum(0)
    assert torch.allclose(gamma, gamma[0].expand(8), atol=1e-5)  # one scalar for all
    assert float(gamma[0]) == pytest.approx(1.0, abs=0.01)
    centred = x - sae.bias
    assert torch.allclose(sae.reconstruct(x) - sae.bias, gamma[0] * centred, atol=1e-4)


def test_one_atom_a_block_is_a_signed_top_k():
    sae = fit_dictionary(rows(), 12, kind="grassmannian", settings=Fitting(k=3, block=1, steps=10, batch=64))
    codes = sae.encode(rows())
    pre = sae.encoder.pre(rows() - sae.pre_bias)
    strongest = pre.abs().topk(3).indices
    assert torch.allclose(codes, torch.zeros_like(pre).scatter(1, strongest, pre.gather(1, strongest)))
    assert bool((codes < 0).any()) and bool((codes > 0).any())


def test_the_price_of_length_makes_group_lasso_sparse_and_refitting_gives_it_back():
    train = planted_factors({"circle": 6}, 16, 1, 3000, 300).rows
    active, missed = {}, {}
    for penalty in (0.0, 3.0):
        settings = Fitting(k=1, block=2, steps=300, batch=256, lr=1e-2, penalty=penalty, auxiliary=0.0)
        sae = fit_dictionary(train, 24, kind="group-lasso", settings=settings)
        codes = sae.encode(train)
        active[penalty] = float((block_norms(codes, 2) > 0).sum(-1).float().mean())
        whole = sae.inferring(Debiased(sae.encoder))
        missed[penalty] = [
            float((train - one.reconstruct(train)).square().sum() / train.square().sum())
            for one in (sae, whole)
        ]
        assert torch.equal(whole.encode(train) != 0, codes != 0)
    assert active[3.0] < 0.6 * active[0.0]
    assert missed[3.0][1] < missed[3.0][0] and missed[0.0][1] <= missed[0.0][0]


def test_thresholds_begin_where_as_many_blocks_answer_as_are_wanted():
    x = torch.cat([rows(), 5 * rows(100)])  # uneven lengths: a mean or a median would not do
    settings = Fitting(k=3, block=2, steps=1, batch=400, lr=0.0)
    sae = fit_dictionary(x, 24, kind="group-lasso", settings=settings)
    fires = (block_norms(sae.encode(x), 2) > 0).double().mean(0)
    assert fires.tolist() == pytest.approx([3 / 12] * 12, abs=2 / 400)
    few = fit_dictionary(x, 24, kind="group-lasso", settings=Fitting(k=1, block=2, steps=1, batch=8, lr=0.0))
    assert bool((block_norms(few.encode(x), 2) > 0).any(0).all())  # no block begins dead


def test_group_lasso_isolates_factors_soon_and_with_few_blocks():
    """From thresholds that leave most blocks active it has 12 of them and 0.43 here."""
    train = planted_factors(COUNTS, 32, 2, 8000, 200).rows
    test = planted_factors(COUNTS, 32, 2, 2000, 201)
    settings = Fitting(k=2, block=3, steps=300, batch=256, lr=5e-3)
    sae = fit_dictionary(train, 96, kind="group-lasso", settings=settings)
    whole = sae.inferring(Debiased(sae.encoder))
    shrunk, refitted = (float(isolation(d.encode(test.rows), d.atoms, test, 3).mean()) for d in (sae, whole))
    assert refitted > 0.7 and refitted > shrunk > 0.6
    assert float((block_norms(sae.encode(test.rows), 3) > 0).sum(-1).double().mean()) < 4


@pytest.mark.parametrize("kind", BLOCK_KINDS)
def test_a_training_that_was_stopped_ends_with_the_same_featurizer(kind, tmp_path, monkeypatch):
    monkeypatch.setattr(fit, "_SAVE_EVERY", 7)
    settings = Fitting(k=2, block=2, steps=30, batch=32, lr=1e-2)
    whole = fit_dictionary(rows(), 16, kind=kind, settings=settings)

    class Stopped(Exception):
        pass

    usual, saved = fit.save, []

    def save_and_stop(*asked):
        usual(*asked)
        saved.append(asked)
        if len(saved) == 2:
            raise Stopped

    monkeypatch.setattr(fit, "save", save_and_stop)
    with pytest.raises(Stopped):
        fit_dictionary(rows(), 16, kind=kind, settings=settings, folder=tmp_path)
    monkeypatch.setattr(fit, "save", usual)
    again = fit_dictionary(rows(), 16, kind=kind, settings=settings, folder=tmp_path)
    assert torch.equal(again.decoder, whole.decoder) and torch.equal(
        again.encode(rows()), whole.encode(rows())
    )
    again.save(tmp_path / "blocks.safetensors")
    loaded = sl.load_dictionary(tmp_path / "blocks.safetensors")
    assert torch.equal(loaded.encode(rows()), again.encode(rows()))
    assert torch.equal(sl.Zero(loaded.block(3).part)(rows()), sl.Zero(again.block(3).part)(rows()))


def test_scale_and_centre_are_folded_into_blocks_too():
    for kind in BLOCK_KINDS:
        settings = Fitting(k=2, block=2, steps=12, batch=64, lr=1e-3)
        plain, other = (fit_dictionary(x, 8, kind=kind, settings=settings) for x in (rows(), 40 * rows() + 5))
        assert torch.allclose(other.encode(40 * rows() + 5), 40 * plain.encode(rows()), atol=2e-2), kind
        assert torch.allclose(
            other.reconstruct(40 * rows() + 5), 40 * plain.reconstruct(rows()) + 5, atol=2e-2
        )


def test_wrong_numbers_of_blocks_are_refused():
    with pytest.raises(SteerlabError, match="atoms=10: .* a multiple of 4"):
        fit_dictionary(rows(), 10, kind="grassmannian")
    with pytest.raises(SteerlabError, match="Fitting: auxiliary=-1"):
        Fitting(auxiliary=-1)

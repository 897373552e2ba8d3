"""Folds leave codes and reconstructions as they were, in float64; what cannot be folded is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import steerlab as sl
from steerlab.bases import BatchTopK, Dictionary, Distances, Gated, JumpRelu, Linear, Pursuit, Relu, TopK
from steerlab.bases.facts import Facts
from steerlab.bases.folds import as_jumprelu, unit_rows, without_norm, without_pre_bias
from steerlab.bases.norms import LayerNorm, Standardise, Whitening

DIM, ATOMS = 16, 64
GENERATOR = torch.Generator().manual_seed(0)


def draw(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=GENERATOR, dtype=torch.float64)


X = draw(40, DIM) + 0.5
THRESHOLD = draw(ATOMS).abs()
ENCODERS = {
    "relu": Linear(draw(DIM, ATOMS), draw(ATOMS), Relu()),
    "jumprelu": Linear(draw(DIM, ATOMS), draw(ATOMS), JumpRelu(THRESHOLD)),
    "topk": Linear(draw(DIM, ATOMS), draw(ATOMS), TopK(5)),
    "abstopk": Linear(draw(DIM, ATOMS), draw(ATOMS), TopK(5, relu=False, absolute=True)),
    "gated": Gated(draw(DIM, ATOMS), draw(ATOMS), draw(ATOMS), 0.3 * draw(ATOMS)),
}


def whitening() -> Whitening:
    """From the covariance, with a mean that is not zero."""
    values, vectors = torch.linalg.eigh(draw(DIM, 3 * DIM).cov())
    return Whitening(draw(DIM), vectors * (values + 1e-3) ** -0.5, (vectors * (values + 1e-3) ** 0.5).T)


def made(encoder, **more) -> Dictionary:
    return Dictionary(decoder=3 * draw(ATOMS, DIM), encoder=encoder, bias=draw(DIM), **more)


def assert_close(a: torch.Tensor, b: torch.Tensor) -> None:
    torch.testing.assert_close(a, b, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("name", ENCODERS)
def test_unit_rows_scale_the_codes_and_keep_the_reconstruction(name):
    sae = made(ENCODERS[name])
    unit = unit_rows(sae)
    assert_close(unit.decoder.norm(dim=-1), torch.ones(ATOMS, dtype=torch.float64))
    assert_close(unit.encode(X), sae.encode(X) * sae.decoder.norm(dim=-1))
    assert_close(unit.reconstruct(X), sae.reconstruct(X))


def test_the_k_strongest_are_chosen_as_before_though_codes_have_changed():
    """Ranking by the new codes instead would keep others: the trap that the fold avoids."""
    sae = made(ENCODERS["topk"])
    naive = unit_rows(sae)
    naive = replace(naive, encoder=replace(naive.encoder, rule=TopK(5)))
    differing = ((naive.encode(X) != 0) != (sae.encode(X) != 0)).any(dim=-1)
    assert int(differing.sum()) > 10
    assert torch.equal(unit_rows(sae).encode(X) != 0, sae.encode(X) != 0)


@pytest.mark.parametrize("name", ENCODERS)
def test_the_bias_before_the_encoder_moves_into_it(name):
    sae = made(ENCODERS[name], pre_bias=draw(DIM))
    folded = without_pre_bias(sae)
    assert folded.pre_bias is None
    assert_close(folded.encode(X), sae.encode(X))
    assert without_pre_bias(folded) is folded


@pytest.mark.parametrize("name", ["jumprelu", "topk", "gated"])
@pytest.mark.parametrize("pre", [False, True], ids=["bias after", "bias before too"])
def test_constant_norms_fold_into_the_weights(name, pre):
    scale = Standardise(torch.zeros(1, dtype=torch.float64), torch.full((1,), 2.7, dtype=torch.float64))
    each = Standardise(draw(DIM), draw(DIM).abs() + 0.5)
    for norm in (scale, each, whitening()):
        sae = made(ENCODERS[name], norm=norm)
        sae = replace(sae, pre_bias=sae.bias) if pre else sae
        folded = without_norm(sae)
        assert_close(folded.encode(X), sae.encode(X))
        assert_close(folded.reconstruct(X), sae.reconstruct(X))
        assert_close(folded.moved(X, lambda z: z * 0.5), sae.moved(X, lambda z: z * 0.5))
    plain = made(ENCODERS[name])
    assert without_norm(plain) is plain


def test_gated_is_jumprelu_with_a_threshold_of_its_own():
    sae = made(ENCODERS["gated"], pre_bias=draw(DIM))
    plain = as_jumprelu(sae)
    assert torch.equal(plain.encode(X) != 0, sae.encode(X) != 0)
    assert_close(plain.encode(X), sae.encode(X))
    assert_close(plain.reconstruct(X), sae.reconstruct(X))


def test_the_edit_of_a_layer_normalised_dictionary_is_the_change_times_the_rows_deviation():
    sae = made(ENCODERS["relu"], norm=LayerNorm())
    z = sae.encode(X)
    moved = sae.moved(X, lambda codes: codes.index_fill(-1, torch.tensor([9]), 1.5))
    assert_close(moved, X + (1.5 - z[:, 9:10]) * sae.decoder[9] * X.std(dim=-1, keepdim=True))


@pytest.mark.parametrize(
    ("fold", "sae", "message"),
    [
        (
            unit_rows,
            made(Linear(draw(DIM, ATOMS), draw(ATOMS), BatchTopK(3))),
            "BatchTopK cannot be rescaled",
        ),
        (unit_rows, made(Pursuit(4)), "Pursuit cannot be rescaled"),
        (without_norm, made(ENCODERS["relu"], norm=LayerNorm()), "LayerNorm measures every row"),
        (
            without_norm,
            made(ENCODERS["relu"], norm=whitening(), facts=Facts(reads="blocks.1.mlp")),
            "a transcoder reads one space",
        ),
        (without_pre_bias, made(Pursuit(4), pre_bias=draw(DIM)), "Pursuit has no bias"),
        (as_jumprelu, made(Distances(draw(ATOMS, DIM), torch.ones(1))), "not Distances"),
    ],
)
def test_what_cannot_be_folded_is_refused(fold, sae, message):
    with pytest.raises(sl.SteerlabError, match=message):
        fold(sae)

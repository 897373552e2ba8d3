"""Dictionaries with a norm: codes of the normalised activation, steps undone with the row's own figures."""

from __future__ import annotations

import pytest
import torch
from bases.sparse_dictionaries import ATOMS, BIAS, DECODER, DIM, X, made, random

import steerlab as sl
from steerlab.bases.norms import ConstantLength, LayerNorm, Standardise, Whitening
from steerlab.errors import SteerlabError

CLOSE = {"atol": 1e-12, "rtol": 0}
NORMS = {
    "constant length": ConstantLength(),
    "layer norm": LayerNorm(),
    "standardise": Standardise(random(DIM, seed=9), random(DIM, seed=10).abs() + 0.5),
    "whitening": Whitening(random(DIM, seed=9), *(m := random(DIM, DIM, seed=11), torch.linalg.inv(m))),
}


@pytest.mark.parametrize("name", NORMS)
def test_a_norm_is_undone_with_the_figures_of_the_clean_activation(name):
    norm = NORMS[name]
    sae = made("relu", norm=norm)
    normal, measured = norm.apply(X)
    assert torch.allclose(norm.undo(normal, measured), X, atol=1e-3 if name == "layer norm" else 1e-10)
    z = made("relu").encode(normal)
    assert torch.allclose(sae.encode(X), z, **CLOSE)
    unit = norm.undo(z @ DECODER + BIAS + DECODER[3], measured) - norm.undo(z @ DECODER + BIAS, measured)
    clamped = sl.Clamp(4.0, 4.0, sae.only(3))(X)  # x + (v - z) d, in the units of the row
    assert torch.allclose(clamped, X + (4 - z[..., [3]]) * unit, atol=1e-10)


@pytest.mark.parametrize("name", NORMS)
def test_a_reconstruction_takes_the_place_of_an_activation_whatever_the_norm(name):
    sae = made("relu", norm=NORMS[name])
    assert torch.allclose(sl.Project(sae)(X), sae.reconstruct(X), **CLOSE)
    z = sae.encode(X)
    z[..., [i for i in range(ATOMS) if i not in (3, 9)]] = 0
    assert torch.allclose(sl.Project(sae.only([3, 9]))(X), sae.decode(z, X), **CLOSE)


def test_layer_norm_measures_with_the_unbiased_deviation():
    normal, measured = LayerNorm(eps=0.0).apply(X)
    assert torch.allclose(normal.std(-1), torch.ones(2, 5, dtype=torch.float64))
    assert torch.allclose(measured[..., 1], X.std(-1))


def test_a_norm_that_measures_rows_decodes_with_the_activation_of_the_codes():
    sae = made("relu", norm=LayerNorm())
    with pytest.raises(SteerlabError, match=r"LayerNorm measures every row: give decode\(z, x\)"):
        sae.decode(sae.encode(X))

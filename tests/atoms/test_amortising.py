"""The gap between an encoder and a search, on codes that are known (arXiv 2603.28744's data)."""

from __future__ import annotations

import planted
import pytest
import torch

import steerlab as sl
from steerlab import atoms
from steerlab.bases import Fista, Linear, TopK


@pytest.fixture(scope="module")
def oracle():
    """100 true atoms in 47 dimensions, 10 active with U(0, 1): one-shot top-k codes on the true atoms."""
    g = planted.generator(0)
    d = planted.unit_rows(planted.randn(100, 47, g=g))
    places = planted.rand(200, 100, g=g).topk(10, dim=1).indices
    codes = torch.zeros(200, 100, dtype=torch.float64).scatter_(1, places, planted.rand(200, 10, g=g))
    encoder = Linear(d.T.contiguous(), torch.zeros(100, dtype=torch.float64), TopK(10))
    return sl.Dictionary(decoder=d, encoder=encoder), codes, codes @ d


def test_a_search_on_the_true_atoms_beats_one_product(oracle):
    sae, codes, x = oracle
    found = atoms.amortisation(sae, x, penalty=0.01)
    assert found.search_r2 > 0.99 and found.refit_r2 > 0.99
    assert found.encoder_r2 < 0.5 and found.gap == pytest.approx(found.refit_r2 - found.encoder_r2)
    fista = sae.inferring(Fista(0.01)).encode(x)
    expected = torch.nn.functional.cosine_similarity(sae.encode(x), fista).mean()
    assert found.agreement == pytest.approx(float(expected)) and found.agreement < 0.9


def test_the_penalty_is_found_that_gives_as_many_codes(oracle):
    sae, _, x = oracle
    found = atoms.amortisation(sae, x)
    assert found.encoder_l0 == 10 and found.search_l0 == pytest.approx(10, rel=0.1)
    assert found.gap > 0.3


def test_an_encoder_that_searches_has_no_gap(oracle):
    sae, _, x = oracle
    found = atoms.amortisation(sae.inferring(Fista(0.05)), x, penalty=0.05)
    assert found.search_r2 == found.encoder_r2
    assert found.agreement == pytest.approx(1) and found.overlap == 1

"""The acceptance probe: silent for the dictionary that made the data, a warning for every wrong reading."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

import steerlab as sl
from steerlab.bases import Dictionary, Distances, Facts, JumpRelu, Linear, Relu, TopK
from steerlab.bases.norms import LayerNorm, Same
from steerlab.bases.probing import probe


def draw(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def planted(dim: int, atoms: int, *, size: float = 1.0, active: int = 4) -> tuple[torch.Tensor, Dictionary]:
    """Activations ``z D + b`` with known codes, and the dictionary that finds them."""
    rows = draw(atoms, dim, seed=0)
    rows = torch.linalg.qr(rows).Q if dim == atoms else rows / rows.norm(dim=1, keepdim=True)
    bias = 0.5 * size * draw(dim, seed=1)
    strength = draw(1500, atoms, seed=2)
    codes = torch.zeros_like(strength).scatter(1, strength.topk(active).indices, 1.0)
    codes *= size * (1 + 0.3 * draw(1500, atoms, seed=3)).clamp_min(0.6)
    encoder = Linear(rows.T.contiguous(), torch.zeros(atoms), JumpRelu(torch.tensor([0.5 * size])))
    facts = Facts(l0=float(active))
    return codes @ rows + bias, Dictionary(
        decoder=rows, encoder=encoder, bias=bias, pre_bias=bias, facts=facts
    )


def best(found) -> str:
    return next((w for w in found.warnings if w.startswith("it fits better if")), "")


@pytest.mark.parametrize(("dim", "atoms", "size"), [(32, 32, 1.0), (256, 384, 1.0), (256, 384, 20.0)])
def test_the_dictionary_that_made_the_data_is_accepted(dim, atoms, size):
    x, true = planted(dim, atoms, size=size)
    found = probe(true, x)
    assert found.warnings == ()
    assert found.r2 > 0.8 and found.alignment == pytest.approx(1) and found.shuffled_r2 < 0
    assert len(found.hypotheses) >= 2 and "advertised 4" in str(found)


def test_figures_are_those_of_numpy():
    x, true = planted(32, 48)
    found = probe(true, x)
    z = (x.double() - true.bias.double()).numpy() @ true.encoder.weight.double().numpy()
    z = z * (z > 0.5)
    x_hat = z @ true.decoder.double().numpy() + true.bias.double().numpy()
    x = x.double().numpy()
    r2 = 1 - ((x - x_hat) ** 2).sum() / ((x - x.mean(0)) ** 2).sum()
    ratio = (np.linalg.norm(x_hat, axis=1) / np.linalg.norm(x, axis=1)).mean()
    assert found.r2 == pytest.approx(r2, abs=1e-5) and found.l0 == pytest.approx((z != 0).sum(1).mean())
    assert found.l2_ratio == pytest.approx(ratio, abs=1e-5) and found.count == 1500


def turned(true: Dictionary) -> dict[str, Dictionary]:
    encoder = dataclasses.replace(true.encoder, weight=true.encoder.weight.T.contiguous())
    rows = true.decoder.T.contiguous()
    return {
        "the encoder were turned": dataclasses.replace(true, encoder=encoder),
        "the decoder were turned": dataclasses.replace(true, decoder=rows),
        "both matrices were turned": dataclasses.replace(true, encoder=encoder, decoder=rows),
    }


@pytest.mark.parametrize("wrong", ["the encoder", "the decoder", "both matrices"])
def test_a_square_matrix_read_the_wrong_way_is_found(wrong):
    x, true = planted(32, 32)
    name = f"{wrong} were turned"
    assert name in best(probe(turned(true)[name], x))


def test_a_bias_that_is_not_subtracted_is_found_and_the_reverse():
    x, true = planted(64, 96)
    without = dataclasses.replace(true, pre_bias=None)
    assert "the decoder's bias were subtracted first" in best(probe(without, x))
    plain = dataclasses.replace(  # the same codes, its bias inside the encoder
        without, encoder=dataclasses.replace(true.encoder, bias=-true.bias @ true.encoder.weight)
    )
    assert probe(plain, x).warnings == ()
    twice = dataclasses.replace(plain, pre_bias=true.bias)
    assert "no bias were subtracted first" in best(probe(twice, x))


@pytest.mark.parametrize("power", [1, -1])
def test_a_threshold_in_other_units_is_found(power):
    x, true = planted(256, 384, size=20.0)
    scale = 256**0.5 / float(x.norm(dim=1).mean())
    rule = JumpRelu(true.encoder.rule.threshold * scale**power)
    found = probe(dataclasses.replace(true, encoder=dataclasses.replace(true.encoder, rule=rule)), x)
    how = "over" if power == 1 else "times"
    assert f"the threshold were {how} sqrt(dim) over the mean length" in best(found)
    assert any("4 are advertised" in w for w in found.warnings)


def test_a_threshold_far_too_low_is_found_though_more_codes_explain_more():
    x, true = planted(64, 64, size=20.0)
    x = x + draw(1500, 64, seed=11)
    low = JumpRelu(true.encoder.rule.threshold * 8 / float(x.norm(dim=1).mean()))  # sqrt(64)
    found = probe(dataclasses.replace(true, encoder=dataclasses.replace(true.encoder, rule=low)), x)
    right = probe(true, x)
    assert right.warnings == () and found.r2 > right.r2 and found.l0 > 3 * right.l0
    assert "the threshold were over sqrt(dim) over the mean length" in best(found)


def test_a_normalisation_that_was_forgotten_is_found():
    rows = draw(96, 64, seed=4)
    rows = rows - rows.mean(1, keepdim=True)  # what is centred has no part along the ones
    rows = rows / rows.norm(dim=1, keepdim=True)
    encoder = Linear(rows.T.contiguous(), torch.zeros(96), TopK(4))
    right = Dictionary(decoder=rows, encoder=encoder, norm=LayerNorm(), facts=Facts(l0=4.0))
    z = torch.zeros(1500, 96).scatter(1, draw(1500, 96, seed=5).topk(4).indices, 1.0)
    x = 30 * draw(1500, 1, seed=6).exp() * (z @ rows) + 50
    assert best(probe(right, x)) == "" and probe(right, x).r2 > 0.5
    assert "every activation were centred and scaled" in best(
        probe(dataclasses.replace(right, norm=Same()), x)
    )


def test_shuffled_atoms_and_lost_rows_are_found():
    x, true = planted(64, 96)
    order = torch.randperm(96, generator=torch.Generator().manual_seed(9))
    found = probe(dataclasses.replace(true, decoder=true.decoder[order]), x)
    assert any("median cosine" in w for w in found.warnings) and found.r2 < 0
    assert any("no better than the mean" in w for w in found.warnings)
    small = probe(dataclasses.replace(true, decoder=0.01 * true.decoder, bias=0.01 * true.bias), x)
    assert any("times the length" in w for w in small.warnings)


def test_transcoders_are_measured_against_what_they_write():
    x, true = planted(64, 96)
    codes = true.encode(x)
    written = draw(96, 24, seed=8) / 24**0.5
    across = Dictionary(
        decoder=written, encoder=true.encoder, pre_bias=true.pre_bias, facts=Facts(reads="blocks.1.resid_mid")
    )
    found = probe(across, x, target=codes @ written)
    assert found.r2 > 0.999 and found.alignment is None and found.warnings == ()
    with pytest.raises(sl.SteerlabError, match="needs target="):
        probe(across, x)
    with pytest.raises(sl.SteerlabError, match="no target"):
        probe(true, x, target=x)


def test_encoders_without_columns_and_thresholds_have_fewer_readings():
    x, _ = planted(8, 12)
    spade = Dictionary(decoder=draw(12, 8, seed=1), encoder=Distances(draw(12, 8, seed=2), torch.ones(1)))
    found = probe(spade, x)
    assert found.alignment is None and found.advertised_l0 is None
    assert not any("threshold" in h.name or "turned" in h.name for h in found.hypotheses)


def test_what_cannot_be_measured_is_refused():
    _, true = planted(8, 12)
    relu = dataclasses.replace(true, encoder=dataclasses.replace(true.encoder, rule=Relu()))
    for x, reason in [
        (torch.ones(5, 8), "nothing to explain"),
        (torch.ones(1, 8), "cannot be compared"),
        (torch.full((5, 8), torch.nan), "NaN or infinite"),
        (torch.ones(5, 9), "reads 8 dimensions"),
    ]:
        with pytest.raises(sl.SteerlabError, match=reason):
            probe(relu, x)

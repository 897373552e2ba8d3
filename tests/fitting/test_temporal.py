"""Training of temporal features: it explains what the past holds, resumes to the bit, and drops padding."""

from __future__ import annotations

import pytest
import torch
from planted_sequences import steady

from steerlab.errors import SteerlabError
from steerlab.fitting.temporal import TemporalFitting, fit_temporal

FEW = TemporalFitting(k=4, bottleneck=4, steps=40, batch=8, lr=3e-3, skip=0)


def data() -> torch.Tensor:
    return 5 * steady(24, 16, seed=1)[0].float()


def missed(tfa, x: torch.Tensor) -> float:
    return float((tfa.decode(*tfa.encode(x)) - x).square().sum() / (x - x.mean((0, 1))).square().sum())


def test_training_lowers_the_error_and_foretells_the_steady_half():
    x = data()
    first = fit_temporal(x, 32, settings=TemporalFitting(k=4, bottleneck=4, steps=1, skip=0))
    tfa = fit_temporal(x, 32, settings=FEW, facts={"site": "blocks.1.resid"})
    assert missed(tfa, x) < 0.6 * missed(first, x) and str(tfa.site) == "blocks.1.resid"
    told = tfa.encode(x)[0] @ tfa.atoms
    share = told.square().sum(-1) / x.square().sum(-1)
    assert float(share[:, 8:].mean()) > 0.3  # 1 / 2 is all that the past holds


def test_a_training_that_was_cut_off_ends_with_the_same_weights(tmp_path, monkeypatch):
    import steerlab.fitting.temporal as training

    monkeypatch.setattr(training, "_SAVE_EVERY", 10)
    x, whole = data(), fit_temporal(data(), 32, settings=FEW)
    real, count = training.split, iter(range(100))

    def breaks(*given):
        if next(count) == 25:
            raise KeyboardInterrupt
        return real(*given)

    monkeypatch.setattr(training, "split", breaks)
    with pytest.raises(KeyboardInterrupt):
        fit_temporal(x, 32, settings=FEW, folder=tmp_path)
    monkeypatch.setattr(training, "split", real)
    again = fit_temporal(x, 32, settings=FEW, folder=tmp_path)
    for name, weight in whole.weights.items():
        assert torch.equal(again.weights[name], weight), name
    with pytest.raises(SteerlabError, match="another training"):
        fit_temporal(x, 64, settings=FEW, folder=tmp_path)


def test_batches_with_padding_train_as_those_without():
    x = data()
    padded = torch.cat([1e3 * torch.ones(24, 3, 16), x], 1)
    real = torch.arange(19).expand(24, -1) >= 3
    bare = fit_temporal([x], 32, settings=FEW)
    found = fit_temporal(lambda: [(padded, real)], 32, settings=FEW)
    assert torch.allclose(found.weights["decoder"], bare.weights["decoder"], atol=1e-3)
    assert found.scale == pytest.approx(bare.scale)


@pytest.mark.parametrize(
    ("given", "atoms", "said"),
    [
        (torch.zeros(2, 3, 16), 30, "multiples"),
        (torch.zeros(2, 3, 16), 32, "zero"),
        (torch.zeros(2, 16), 32, "sequence, token, dim"),
        (iter([torch.zeros(2, 3, 16)]), 32, "more than once"),
        ([torch.ones(2, 1, 16)], 32, "no token"),
    ],
)
def test_what_cannot_be_trained_is_told(given, atoms, said):
    settings = TemporalFitting(bottleneck=4, steps=2)
    with pytest.raises(SteerlabError, match=said):
        fit_temporal(given, atoms, settings=settings)


def test_settings_that_cannot_be_are_told():
    for settings in ({"k": 0}, {"lr": 0}, {"skip": -1}):
        with pytest.raises(SteerlabError, match=next(iter(settings))):
            TemporalFitting(**settings)

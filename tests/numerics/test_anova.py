"""The split into mean, position and content: exact identities, its bias and what takes it away."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from steerlab.numerics.anova import FactorMoments, crossfitted_position, psd


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def planted(n: int, places: int, dim: int, *, position: float = 1.0, seed: int = 0) -> torch.Tensor:
    """Content noise of variance 1, and a position factor that is the same in all images."""
    where = random(places, dim, seed=99)
    return random(n, places, dim, seed=seed) + position * (where - where.mean(0)) + 3.0


def test_energies_add_up_and_equal_a_plain_reference():
    x = planted(40, 25, 32)
    model = FactorMoments().update(x).finalize()
    table = x.numpy()
    mu = table.mean((0, 1))
    pos = table.mean(0) - mu
    content = table - mu - pos
    scene = table.mean(1) - mu
    found = {name: float(value) for name, value in model.energies().items()}
    expected = {
        "mean": 40 * 25 * (mu**2).sum(),
        "position": 40 * (pos**2).sum(),
        "content": (content**2).sum(),
        "scene": 25 * (scene**2).sum(),
        "local": ((content - scene[:, None]) ** 2).sum(),
    }
    assert found == pytest.approx(expected, rel=1e-12)
    assert found["mean"] + found["position"] + found["content"] == pytest.approx((table**2).sum(), rel=1e-14)
    assert np.allclose(model.mu, mu, atol=1e-12) and np.allclose(model.pos, pos, atol=1e-12)
    assert model.pos.sum(0).abs().max() < 1e-12
    grams = np.einsum("ipd,ipe->de", content, content), 40 * pos.T @ pos
    assert np.allclose(model.content, grams[0], rtol=1e-10) and np.allclose(model.position, grams[1])


def test_batches_merges_and_files_give_what_one_pass_gives():
    x = planted(24, 9, 3).unflatten(-1, (1, 3)).repeat(1, 1, 2, 1) * torch.tensor([[1.0], [2.0]])
    whole = FactorMoments().update(x).finalize()
    parts = [FactorMoments().update(x[:1]).update(x[1:10]), FactorMoments().update(x[10:])]
    again = [FactorMoments.unpacked(one.packed(), x.shape[1:]) for one in parts]
    merged = FactorMoments().merge(again[0]).merge(again[1]).finalize()
    assert whole.mu.shape == (2, 3) and whole.pos.shape == (2, 9, 3) and merged.count == 24
    for name in ("mu", "pos", "content", "scene"):
        assert torch.allclose(getattr(merged, name), getattr(whole, name), rtol=1e-10, atol=1e-10), name
    alone = FactorMoments().update(x[:, :, 1]).finalize()
    assert torch.allclose(whole.at(1).content, alone.content) and torch.allclose(whole.at(1).pos, alone.pos)


def test_diagonals_are_those_of_the_whole():
    x = planted(12, 7, 5)
    whole, thin = (FactorMoments(diagonal=d).update(x[:5]).update(x[5:]).finalize() for d in (False, True))
    assert torch.allclose(whole.content.diagonal(), thin.content)
    for name, value in whole.energies().items():
        assert torch.allclose(thin.energies()[name], value), name
    assert torch.allclose(thin.unbiased_share(), whole.unbiased_share())


def test_a_massive_mean_cancels_nothing():
    """Far coordinates as in massive activations: the content is found to the precision of the data."""
    x = planted(64, 16, 4)
    far = x + torch.tensor([1e6, 0.0, -3e5, 0.0])
    near, found = (FactorMoments().update(one[:8]).update(one[8:]).finalize() for one in (x, far))
    assert torch.allclose(found.content, near.content, rtol=1e-7)
    pooled = torch.einsum("ipd,ipe->de", far, far) - 64 * far.mean(0).mT @ far.mean(0)
    assert not torch.allclose(pooled, near.content, rtol=1e-7)  # which the plain formula loses


@pytest.mark.parametrize("n, expected", [(16, 0.064), (64, 0.0150), (256, 0.0039), (1024, 0.0009)])
def test_content_alone_shows_a_share_of_one_in_n_images_which_the_estimators_take_away(n, expected):
    x = planted(n, 49, 16, position=0.0, seed=n)
    model = FactorMoments().update(x).finalize()
    assert float(model.share()) == pytest.approx(expected, rel=0.15)
    assert float(model.unbiased_share()) <= 0.004
    halves = [FactorMoments().update(half).finalize() for half in (x[: n // 2], x[n // 2 :])]
    crossed = float(crossfitted_position(*halves).trace() / model.energies()["content"])
    assert abs(crossed) < 0.3 * expected
    trace = (model.unbiased_position().trace() - model.position.trace()) / model.energies()["content"]
    assert float(trace) < -0.5 * expected


def test_a_planted_share_is_found_without_bias_by_each_estimator():
    draws = [planted(12, 36, 8, seed=s) for s in range(40)]
    where = draws[0].new_tensor(0.0) + random(36, 8, seed=99)
    signal = float((where - where.mean(0)).square().sum() / 35)  # variance between positions
    true = signal / (signal + 8)
    models = [FactorMoments().update(x).finalize() for x in draws]
    naive, honest = (np.mean([float(getattr(m, f)()) for m in models]) for f in ("share", "unbiased_share"))
    assert honest == pytest.approx(true, abs=0.004) and naive > honest + 0.02
    crossed = []
    for x in draws:
        halves = [FactorMoments().update(half).finalize() for half in (x[:6], x[6:])]
        crossed.append(float(crossfitted_position(*halves).trace()) / 12 / 35)
    assert np.mean(crossed) == pytest.approx(signal, rel=0.02)


def test_shuffled_positions_leave_the_energy_and_lose_the_share():
    x = planted(64, 49, 16)
    order = torch.stack([torch.randperm(49, generator=torch.Generator().manual_seed(i)) for i in range(64)])
    shuffled = x.gather(1, order[..., None].expand_as(x))
    before, after = (FactorMoments().update(one).finalize() for one in (x, shuffled))
    assert float(before.unbiased_share()) > 0.45 and float(after.unbiased_share()) < 0.004
    totals = [float(sum(m.energies()[f] for f in ("mean", "position", "content"))) for m in (before, after)]
    assert totals[0] == pytest.approx(totals[1], rel=1e-12)


def test_an_affine_map_carries_the_factors_exactly():
    x, weight, bias = planted(10, 6, 5), random(2, 3, 5, seed=1), random(2, 3, seed=2)
    mapped = FactorMoments().update(x).finalize().through(weight, bias)
    direct = FactorMoments().update(torch.einsum("hod,ipd->ipho", weight, x) + bias).finalize()
    for name in ("mu", "pos", "content", "scene"):
        assert torch.allclose(getattr(mapped, name), getattr(direct, name)), name


def test_what_is_no_rounding_is_refused():
    gram = torch.diag(torch.tensor([1.0, 0.5, -1e-12]).double())
    assert torch.linalg.eigvalsh(psd(gram))[0] >= 0 and torch.equal(psd(gram[:2, :2]), gram[:2, :2])
    with pytest.raises(ValueError, match="eigenvalue of -0.05 of its trace: that is no rounding"):
        psd(torch.diag(torch.tensor([1.0, 0.05, -0.05]).double()))
    with pytest.raises(ValueError, match="2 images or more, and there are 1"):
        FactorMoments().update(random(1, 3, 2)).finalize()
    with pytest.raises(ValueError, match="every image needs the same positions"):
        FactorMoments().update(random(2, 3, 2)).update(random(2, 4, 2))
    with pytest.raises(ValueError, match="NaN"):
        FactorMoments().update(random(2, 3, 2) * torch.nan)
    with pytest.raises(ValueError, match="are no moments of activations"):
        FactorMoments.unpacked(torch.zeros(7), (3, 2))

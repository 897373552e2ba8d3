"""Massive entries, lengths with a planted valley, and column concentration, against what was planted."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from steerlab.numerics.massive import (
    Lengths,
    concentration,
    massive_entries,
    tally_massive,
)


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def planted() -> torch.Tensor:
    """Three inputs: dim 7 massive at the first token of all, dim 2 at token 4 of the last alone."""
    x = 0.2 * random(3, 6, 50)
    x[:, 0, 7] = torch.tensor([900.0, -1000.0, 1100.0])
    x[2, 4, 2] = 300.0
    return x


def test_massive_entries_are_the_planted_ones():
    found = massive_entries(planted()).nonzero().tolist()
    assert found == [[0, 0, 7], [1, 0, 7], [2, 0, 7], [2, 4, 2]]


def test_both_conditions_are_needed():
    x = planted()
    assert not massive_entries(x / 20).any(-1)[:, 0].any()  # 1000 times the median, and not above 100
    assert not massive_entries(x + 2.0).any()  # above 100, and no longer 1000 times the median
    assert massive_entries(x / 20, above=10.0).sum() == 4
    assert massive_entries(x + 2.0, ratio=100.0).sum() == 4
    assert massive_entries(x.bfloat16(), above=950.0).sum() == 2


def test_the_tally_of_a_stream_is_that_of_the_whole():
    x = planted()
    whole, parts = tally_massive(x), tally_massive(x[:1]).merge(tally_massive(x[1:]))
    for one in (whole, parts):
        assert one.dims.nonzero()[:, 0].tolist() == [2, 7] and one.dims[[2, 7]].tolist() == [1, 3]
        assert one.places.tolist() == [3, 0, 0, 0, 1, 0]
        assert float(one.means[7]) == pytest.approx(1000 / 3) and math.isnan(float(one.means[0]))
        assert float(one.largest[7]) == 1100
    medians = np.median(np.abs(x.numpy().reshape(3, -1)), axis=1)
    assert parts.median == pytest.approx(whole.median) == pytest.approx(medians.mean(), rel=0.02)


def test_texts_of_other_lengths_are_merged():
    short, long = tally_massive(planted()[:, :3]), tally_massive(planted())
    both = short.merge(long)
    assert both.places.tolist() == [6, 0, 0, 0, 1, 0] and both.inputs == 6


def two_modes(share: float = 0.02, ratio: float = 5.0) -> torch.Tensor:
    """Lengths about 30, and a share of them about `ratio` times as long."""
    lengths = 30 * (0.15 * random(20000)).exp()
    lengths[: int(share * 20000)] *= ratio
    return lengths


def test_a_planted_valley_is_found():
    valley = Lengths.of(two_modes()).valley()
    assert valley.bimodal and valley.depth > 0.95
    assert 45 < valley.at < 120
    assert valley.peaks == (pytest.approx(30, rel=0.06), pytest.approx(150, rel=0.1))
    assert valley.share == pytest.approx(0.02, abs=0.001)


@pytest.mark.parametrize("seed", range(5))
def test_one_mode_has_no_valley(seed):
    for lengths in (
        30 * (0.15 * random(20000, seed=seed)).exp(),
        random(1500, 40, seed=seed).norm(dim=-1),
        random(200, 3, seed=seed).norm(dim=-1),
    ):
        valley = Lengths.of(lengths).valley()
        assert valley is None or not valley.bimodal


def test_modes_that_run_into_each_other_are_not_two():
    valley = Lengths.of(two_modes(0.5, 1.3)).valley()
    assert valley is None or not valley.bimodal


def test_a_shallow_valley_is_told_but_makes_no_two_modes():
    valley = Lengths.of(two_modes(0.5, 1.69)).valley()
    assert 0.1 < valley.depth < 0.4 and not valley.bimodal


def test_a_few_outliers_are_no_mode():
    lengths = torch.cat([two_modes(0.0)[:500], torch.full((3,), 900.0)])
    assert Lengths.of(lengths).valley() is None
    assert Lengths.of(torch.cat([lengths, torch.full((30,), 900.0)])).valley().bimodal


def test_a_histogram_of_a_stream_is_that_of_the_whole():
    lengths = two_modes()
    parts = Lengths.of(lengths[:777]).merge(Lengths.of(lengths[777:].view(-1, 1)))
    assert torch.equal(parts.counts, Lengths.of(lengths).counts)
    for share in (0.1, 0.5, 0.97, 0.995):
        exact = float(lengths.double().quantile(share))
        assert exact <= parts.quantile(share) * 1.0001 <= exact * 1.06
    assert parts.share_above(100.0) == pytest.approx(float((lengths > 100).double().mean()), abs=0.001)


def test_lengths_beyond_the_ends_are_counted_and_wrong_ones_refused():
    assert int(Lengths.of(torch.tensor([0.0, 1e9])).counts.sum()) == 2
    with pytest.raises(ValueError, match="negative or NaN"):
        Lengths.of(torch.tensor([math.nan]))
    with pytest.raises(ValueError, match="no lengths"):
        Lengths.of(torch.zeros(0)).valley()


def test_concentration_is_one_for_uniform_attention():
    uniform = torch.full((2, 8, 8), 1 / 8).sum(1)
    assert torch.allclose(concentration(uniform), torch.ones(2))
    sink = torch.full((8, 8), 0.1 / 7)
    sink[:, 0] = 0.9
    assert float(concentration(sink.sum(0))) == pytest.approx(0.9 / (0.1 / 7), rel=1e-5)

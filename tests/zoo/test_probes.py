"""Ridge probes against planted relations, whose explained share is known."""

import pytest
import torch

from steerlab.zoo.training.probes import explained


@pytest.fixture(scope="module")
def planted():
    """Features of very different scale; targets of which they explain all, half and nothing."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(3000, 40, generator=generator)
    noise = torch.randn(3000, 2, generator=generator)
    signal = features @ torch.randn(40, generator=generator) / 40**0.5
    signal = signal / signal.std()
    targets = torch.stack([3 + signal, signal + noise[:, 0], 100 * noise[:, 1]], dim=1)
    return features * torch.logspace(-4, 4, 40) + 7, targets


def test_the_share_explained_is_the_planted_one(planted):
    features, targets = planted
    scores = explained(features[:1000], targets[:1000], features[1000:], targets[1000:])
    assert scores[0] > 0.99
    assert abs(scores[1] - 0.5) < 0.05
    assert abs(scores[2]) < 0.03


def test_with_fewer_rows_than_features_nothing_is_made_up(planted):
    features, targets = planted
    wide = torch.cat([features, torch.randn(3000, 200, generator=torch.Generator().manual_seed(1))], dim=1)
    scores = explained(wide[:150], targets[:150], wide[150:], targets[150:])
    assert 0.3 < scores[0] < 0.9 and 0 < scores[1] < 0.45 and scores[2] < 0.03


def test_held_out_rows_do_not_change_the_fit(planted):
    features, targets = planted
    whole = explained(features[:500], targets[:500], features[500:1500], targets[500:1500])
    first = explained(features[:500], targets[:500], features[500:1000], targets[500:1000])
    rest = explained(features[:500], targets[:500], features[1000:1500], targets[1000:1500])
    assert torch.allclose(whole, (first + rest) / 2, atol=0.02)

"""Translation between oracle dictionaries of planted concepts: exact, and worse than none if permuted."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from planted_concepts import DIMS, shared_concepts

import steerlab as sl
from steerlab.atoms import translation
from steerlab.bases.encoders import Encoder
from steerlab.numerics.concepts import iso_energy_loss


@dataclass(frozen=True, eq=False)
class Known(Encoder):
    """Tells the codes of activations that it was shown, and how an added atom changes them."""

    rows: torch.Tensor
    codes: torch.Tensor

    def __call__(self, x, decoder):
        if torch.equal(x, self.rows):
            return self.codes
        step = x - self.rows
        best = (step @ torch.nn.functional.normalize(decoder, dim=1).T).mean(0).argmax()
        size = (step @ decoder[best] / decoder[best].square().sum())[:, None]
        return self.codes + size * torch.nn.functional.one_hot(best, len(decoder))


def oracles(scales=(1.0, 1.0, 1.0)) -> tuple[list[sl.Dictionary], list[torch.Tensor]]:
    codes, atoms, x = shared_concepts(500)
    rows = [scale * part for scale, part in zip(scales, x, strict=True)]
    made = [
        sl.Dictionary(decoder=scale * one, encoder=Known(part, codes))
        for scale, one, part in zip(scales, atoms, rows, strict=True)
    ]
    return made, rows


def test_shared_codes_translate_between_all_nine_pairs_and_a_wrong_index_is_worse_than_the_mean():
    made, rows = oracles()
    scores = translation(made, [rows], concepts=[3, 40])
    torch.testing.assert_close(scores.r2, torch.ones(3, 3), atol=1e-5, rtol=0)
    assert scores.r2.shape == (len(DIMS), len(DIMS))
    assert float(scores.permuted.mean()) == pytest.approx(-1.0, abs=0.1)
    torch.testing.assert_close(scores.consistency, torch.ones(3, 3, 64, dtype=torch.float64))


def test_an_edit_in_one_model_moves_the_others_along_their_own_atom():
    made, rows = oracles((1.0, 2.0, 0.5))
    scores = translation(made, [rows], concepts=[3, 40])
    torch.testing.assert_close(scores.cosine, torch.ones(3, 3, 2, dtype=torch.float64), atol=1e-5, rtol=0)
    assert float(scores.off_target.max()) < 1e-6


def test_scores_of_batches_are_those_of_the_whole():
    codes, atoms, x = shared_concepts(400)
    frames = [torch.linalg.pinv(one) for one in atoms]
    made = [
        sl.Dictionary(
            decoder=one, encoder=sl.bases.encoders.Linear(frame, torch.zeros(64), sl.bases.rules.Relu())
        )
        for one, frame in zip(atoms, frames, strict=True)
    ]
    whole = translation(made, [x], concepts=[1])
    parts = translation(made, zip(*(part.split(130) for part in x), strict=True))
    torch.testing.assert_close(parts.r2, whole.r2)
    torch.testing.assert_close(parts.consistency, whole.consistency)
    z = [one.encode(part).double() for one, part in zip(made, x, strict=True)]
    expected = torch.corrcoef(torch.stack([z[0][:, 5], z[2][:, 5]]))[0, 1]
    assert float(whole.consistency[0, 2, 5]) == pytest.approx(float(expected), abs=1e-6)


def test_energies_of_one_side_scaled_by_two_lose_three_fifths():
    codes = shared_concepts(500)[0]
    assert float(iso_energy_loss(codes, codes)) == 0.0
    assert float(iso_energy_loss(codes, 2 * codes)) == pytest.approx(0.6, abs=1e-4)


def test_dictionaries_of_other_sizes_have_no_shared_index():
    made, rows = oracles()
    with pytest.raises(sl.SteerlabError, match="one size"):
        translation([made[0], sl.Dictionary(decoder=torch.eye(4), encoder=made[0].encoder)], [rows])

"""Recombine: mean, position and content put together anew, against the factors themselves."""

from __future__ import annotations

import pytest
import torch

import steerlab as sl
from steerlab.edits import Recombine
from steerlab.numerics.anova import FactorMoments


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


X = random(6, 5, 3) + random(5, 3, seed=1) + 2.0  # the first token is a class token
MODEL = FactorMoments().update(X[:, 1:]).finalize()
MEAN, TABLE = MODEL.mu, MODEL.pos
CONTENT = X[:, 1:] - MEAN - TABLE


def recombined(**settings) -> torch.Tensor:
    y = Recombine(MEAN, TABLE, 1, **settings)(X)
    assert torch.equal(y[:, 0], X[:, 0])
    return y[:, 1:]


@pytest.mark.parametrize(
    "settings, expected",
    [
        ({"position": 0.0}, MEAN + CONTENT),
        ({"content": 0.0}, (MEAN + TABLE).expand_as(CONTENT)),
        ({"position": 2.5}, MEAN + 2.5 * TABLE + CONTENT),
        ({"order": [1, 2, 3, 0]}, MEAN + TABLE[[1, 2, 3, 0]] + CONTENT),
        ({"rows": [1, 0, 3, 2, 5, 4]}, MEAN + TABLE + CONTENT[[1, 0, 3, 2, 5, 4]]),
        (
            {"position": 0.5, "content": 2.0, "order": [3, 2, 1, 0], "rows": [5, 4, 3, 2, 1, 0]},
            MEAN + 0.5 * TABLE.flip(0) + 2 * CONTENT.flip(0),
        ),
    ],
)
def test_each_part_is_what_was_asked_for(settings, expected):
    assert torch.allclose(recombined(**settings), expected, atol=1e-12)


def test_what_is_not_asked_for_changes_no_bit():
    x = X.float()
    assert torch.equal(Recombine(MEAN, TABLE, 1)(x), x)


def test_heads_have_tables_of_their_own():
    x = random(4, 5, 2, 3)
    found = Recombine(random(2, 3, seed=1), random(5, 2, 3, seed=2), position=0.0)(x)
    assert torch.allclose(found, x - random(5, 2, 3, seed=2), atol=1e-12)


@pytest.mark.parametrize(
    "arguments, said",
    [
        ((MEAN, TABLE[0]), r"a mean \[dim\] and a table \[position, dim\], not \[3\] and \[3\]"),
        ((MEAN, TABLE, -1), "start=-1 is not the number of a token"),
        ((MEAN, TABLE, 1, "a"), "position='a' is not a number"),
        ((MEAN, TABLE, 1, 1.0, 1.0, [0, 9, 1, 2]), "numbers from 0 to 3"),
        ((MEAN, TABLE, 1, 1.0, 1.0, [0]), "order names 1 of 4 positions"),
        ((MEAN, TABLE, 1, 1.0, 1.0, None, [1, 2]), "rows=.*numbers from 0 to 1"),
    ],
)
def test_wrong_settings_are_refused(arguments, said):
    with pytest.raises(sl.SteerlabError, match=said):
        Recombine(*arguments)


def test_other_activations_are_refused():
    with pytest.raises(sl.SteerlabError, match=r"from token 2 on does not fit the activation \[6, 5, 3\]"):
        Recombine(MEAN, TABLE, 2)(X)
    with pytest.raises(sl.SteerlabError, match="orders 2 rows, the activation has 6"):
        Recombine(MEAN, TABLE, 1, rows=[1, 0])(X)

"""Edits around sinks and long tokens, against loops in numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import steerlab as sl
from steerlab.edits import Gate, Shorten, ToToken


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("token", [0, 2, -1])
def test_to_token_moves_the_largest_magnitude_with_its_sign(token):
    x, held = random(3, 5, 8), torch.tensor([0.5, -0.25])
    y = ToToken([6, 1], token=token, elsewhere=held, scale=2.0)(x)
    expected = x.numpy().copy()
    for row in range(3):
        for place, c in enumerate((6, 1)):
            column = x[row, :, c].numpy()
            expected[row, :, c] = held[place]
            expected[row, token, c] = 2 * column[np.abs(column).argmax()]
    assert np.array_equal(y.numpy(), expected)


def test_to_token_keeps_negative_maxima_and_other_coordinates():
    x = torch.zeros(1, 4, 3)
    x[0, 2, 1], x[0, 3, 1], x[0, 1, 0] = -7.0, 5.0, 1.0
    y = ToToken([1])(x)
    assert y[0, :, 1].tolist() == [-7, 0, 0, 0] and torch.equal(y[..., [0, 2]], x[..., [0, 2]])


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"coordinates": []}, "give their numbers"),
        ({"coordinates": [1, 1]}, "each once"),
        ({"coordinates": [-1]}, "give their numbers"),
        ({"coordinates": [1], "token": "cls"}, "number of a token"),
        ({"coordinates": [1, 2], "elsewhere": torch.zeros(3)}, r"it needs \[2\]"),
    ],
)
def test_a_wrong_to_token_is_refused(wrong, message):
    with pytest.raises(sl.SteerlabError, match=message):
        ToToken(**wrong)


def test_a_to_token_that_does_not_fit_is_refused():
    with pytest.raises(sl.SteerlabError, match=r"coordinate 9 of an activation \[2, 3, 8\], whose last is 7"):
        ToToken([9])(random(2, 3, 8))
    with pytest.raises(sl.SteerlabError, match=r"token 3 of an activation \[2, 3, 8\]"):
        ToToken([1], token=3)(random(2, 3, 8))


def patterns() -> torch.Tensor:
    """Two heads of one input: the first looks at key 1 from queries 0 and 2, the second everywhere."""
    a = torch.full((1, 2, 3, 4), 0.25)
    a[0, 0] = torch.tensor([[0.1, 0.9, 0.0, 0.0], [0.3, 0.3, 0.3, 0.1], [0.0, 0.5, 0.25, 0.25]])
    return a


def test_a_gate_closes_where_the_sink_is_looked_at():
    a = patterns()
    y = Gate()(a)
    assert torch.equal(y[0, 0, 1], a[0, 0, 1]) and torch.equal(y[0, 1], a[0, 1])
    assert not y[0, 0, [0, 2]].any()
    half = Gate(above=0.6, closed=0.5)(a)
    assert torch.equal(half[0, 0, 0], 0.5 * a[0, 0, 0]) and torch.equal(half[0, 0, 1:], a[0, 0, 1:])


def test_a_soft_gate_leaves_what_is_not_on_the_sink():
    a = patterns()
    y = Gate(above=None)(a)
    assert torch.allclose(
        y.sum(-1), 1 - a.gather(-1, torch.tensor([1, 0]).view(1, 2, 1, 1).expand(1, 2, 3, 1))[..., 0]
    )
    assert torch.allclose(Gate(above=None, key=3)(a).sum(-1), 1 - a[..., 3])


@pytest.mark.parametrize("wrong", [{"above": 0.0}, {"above": 1.5}, {"closed": 1.0}, {"key": "bos"}])
def test_a_wrong_gate_is_refused(wrong):
    with pytest.raises(sl.SteerlabError, match=f"Gate: {next(iter(wrong))}="):
        Gate(**wrong)
    with pytest.raises(sl.SteerlabError, match="key 4 of a pattern"):
        Gate(key=4)(patterns())


def test_long_tokens_are_cut_and_short_ones_keep_their_bits():
    x = random(2, 50, 6)
    long = x.norm(dim=-1) > 2.5
    assert 10 < int(long.sum()) < 90
    y = Shorten(2.5)(x)
    assert torch.equal(y[~long], x[~long])
    assert torch.allclose(y[long].norm(dim=-1), torch.tensor(2.5))
    assert torch.allclose(torch.cosine_similarity(y[long], x[long], dim=-1), torch.ones(()))
    value = random(6, seed=1)
    assert torch.equal(Shorten(2.5, value)(x)[long], value.expand(int(long.sum()), 6))
    assert not Shorten(2.5, 0.0)(x)[long].any()


@pytest.mark.parametrize("wrong", [{"above": 0.0}, {"above": float("nan")}, {"above": 1.0, "value": "mean"}])
def test_a_wrong_shorten_is_refused(wrong):
    with pytest.raises(sl.SteerlabError, match="Shorten: "):
        Shorten(**wrong)


def test_they_go_through_files(tmp_path):
    vit = sl.load("zoo:shapes-vit")
    edits = {
        "blocks.1.mlp.act": ToToken([3, 5], token=1, elsewhere=torch.tensor([0.1, 0.2])),
        "blocks.2.pattern": Gate(above=0.3),
        "blocks.3.resid": Shorten(20.0, random(128)),
    }
    pictures = sl.inputs.Scenes(2, 5).load(tmp_path)
    sl.save_intervention(edits, tmp_path / "one", model=vit)
    again = sl.load_intervention(tmp_path / "one.steer")
    ends = []
    for one in (edits, again):
        with vit.edit(one, strict=False):
            ends.append(vit.capture(pictures, "final")["final"])
    assert torch.equal(*ends) and not torch.equal(ends[0], vit.capture(pictures, "final")["final"])

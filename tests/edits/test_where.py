"""Where: an edit belongs where a reading says so, half where it says a half, and nowhere else."""

from __future__ import annotations

import pytest
import torch

import steerlab as sl
from steerlab.edits import Where
from steerlab.errors import SteerlabError

READING = torch.tensor([0.5, 0.0, 0.0])


def test_entries_are_edited_as_far_as_the_reading_says():
    x = torch.tensor([[-2.0, 1, 1], [0, 1, 1], [1, 1, 1], [2, 1, 1], [9, 1, 1]])
    edited = Where(sl.Add(torch.tensor([0.0, 10, 0])), READING)(x)
    assert torch.equal(edited[:, 1], torch.tensor([1.0, 1, 6, 11, 11]))
    assert torch.equal(edited[:, [0, 2]], x[:, [0, 2]])
    raised = Where(sl.Add(torch.tensor([0.0, 10, 0])), READING, offset=0.5)(x)
    assert torch.equal(raised[:, 1], torch.tensor([1.0, 6, 11, 11, 11]))


def test_what_is_read_is_the_activation_before_the_edit():
    x = torch.tensor([[2.0, 0, 0], [-2.0, 0, 0]])
    assert torch.equal(Where(sl.Scale(-1.0), READING)(x), torch.tensor([[-2.0, 0, 0], [-2.0, 0, 0]]))


def test_entries_outside_keep_every_bit_whatever_the_edit_gives():
    x = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0)).bfloat16()
    x[..., 0] = -x[..., 0].abs()
    assert torch.equal(Where(sl.Fn(lambda t: t / 0), READING)(x), x)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Where(sl.Zero().on(rows=0), READING), "takes an edit, not Scoped"),
        (lambda: Where(sl.Mask(torch.ones(3, 3, dtype=torch.bool)), READING), "edits scores"),
        (lambda: Where(sl.Zero(), READING[None]), r"takes a reading \[dim\], not \[1, 3\]"),
        (lambda: Where(sl.Zero(), READING, float("nan")), "offset=nan is not a number"),
        (lambda: Where(sl.Zero(), READING)(torch.ones(2, 4)), r"does not fit the activation \[2, 4\]"),
        (
            lambda: Where(sl.Zero(), torch.ones(1))(torch.ones(2, 4)),
            r"a reading \[1\] of activations \[2, 4\]",
        ),
    ],
)
def test_what_is_not_a_reading_is_told(make, says):
    with pytest.raises(SteerlabError, match=says):
        make()

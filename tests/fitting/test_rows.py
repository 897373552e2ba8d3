"""Rows come in one order, each once a pass, from a tensor and from a stream alike."""

from __future__ import annotations

import itertools

import pytest
import torch

from steerlab.errors import SteerlabError
from steerlab.fitting import Fitting, fit_dictionary
from steerlab.fitting.rows import Rows


def numbered(count: int, dim: int = 2) -> torch.Tensor:
    return torch.arange(float(count))[:, None].expand(count, dim).contiguous()


def taken(rows: Rows, batches: int) -> list[torch.Tensor]:
    return [batch[..., 0] for batch in itertools.islice(rows.batches(), batches)]


SOURCES = {
    "tensor": lambda: numbered(96).view(4, 24, 2),
    "list": lambda: list(numbered(96).split(10)),
    "function": lambda: lambda: iter(numbered(96).split(7)),
    "half": lambda: numbered(96).half(),
}


@pytest.mark.parametrize("name", SOURCES)
def test_a_pass_holds_every_row_once_in_an_order_of_its_own(name):
    rows = Rows(SOURCES[name](), False, 16, 3)
    first, second = torch.cat(taken(rows, 12)).split(96)
    for one in (first, second):
        assert sorted(one.tolist()) == list(range(96))
    assert first.tolist() != sorted(first.tolist()) and first.tolist() != second.tolist()
    assert all(torch.equal(a, b) for a, b in zip(taken(rows, 9), taken(rows, 9), strict=True))


def test_batches_go_on_across_passes_when_they_do_not_divide_them():
    got = taken(Rows(numbered(10), False, 4, 0), 5)
    assert [len(batch) for batch in got] == [4] * 5
    assert sorted(torch.cat(got).tolist()) == sorted([*range(10)] * 2)


def test_half_precision_is_trained_in_float32_and_the_tensor_is_left_alone():
    x = torch.randn(64, 4, generator=torch.Generator().manual_seed(0)).half()
    before = x.clone()
    sae = fit_dictionary(x, 8, settings=Fitting(k=2, steps=3, batch=16))
    assert sae.decoder.dtype == torch.float32 and torch.equal(x, before)


def test_pairs_stay_together_whichever_way_they_are_given():
    one, two = numbered(48), numbered(48) + 100
    ways = [(one, two), torch.stack([one, two], 1), [(one[:20], two[:20]), (one[20:], two[20:])]]
    for way in ways:
        (batch,) = itertools.islice(Rows(way, True, 48, 1).batches(), 1)
        assert batch.shape == (48, 2, 2) and torch.equal(batch[:, 1], batch[:, 0] + 100)
    a, b = (torch.cat(taken(Rows(way, True, 16, 1), 3)) for way in ways[:2])
    assert torch.equal(a, b)


@pytest.mark.parametrize(
    ("source", "paired", "message"),
    [
        (iter([numbered(4)]), False, "an iterator, which can be read once"),
        ([], False, "no activations to train on"),
        (torch.empty(0, 4), False, "no activations to train on"),
        (torch.zeros(4, 4, dtype=torch.long), False, "floating tensors .* not torch.int64 numbers"),
        (["x"], False, "floating tensors .* not str"),
        (torch.tensor([[1.0, float("nan")]]), False, "NaN or infinite"),
        (torch.zeros(8, 3, 4), True, "takes pairs"),
        (torch.ones(8, 4), False, "all activations are equal"),
    ],
)
def test_what_cannot_be_trained_on_is_refused(source, paired, message):
    kind = "aligned" if paired else "topk"
    with pytest.raises(SteerlabError, match=message):
        fit_dictionary(source, 8, kind=kind, settings=Fitting(k=2, steps=2, batch=4))

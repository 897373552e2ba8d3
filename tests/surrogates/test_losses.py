"""What is minimised: groups of tokens, padding, teacher forcing, the closed loop; and the pace of it."""

from __future__ import annotations

import math

import pytest
import torch

import steerlab as sl
from steerlab.surrogates import BlockSizes, Distilling, RaptorBlock
from steerlab.surrogates.losses import distance, forced, looped, weighted_error
from steerlab.surrogates.teacher import Path, batches

GROUPS = {"cls": slice(0, 1), "registers": slice(1, 3), "patches": slice(3, 7)}


def states(count: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, 2, 7, 8, generator=torch.Generator().manual_seed(seed))


def test_each_group_counts_by_its_weight_however_many_tokens_it_has():
    given, wanted = states(1)[0], states(1, 1)[0]
    path = Path(states(2), GROUPS)
    parts = [(given[:, g] - wanted[:, g]).square().mean() for g in GROUPS.values()]
    weights = {"cls": 0.45, "registers": 0.10, "patches": 0.45}
    found = weighted_error(given, wanted, path, weights=weights)
    assert float(found) == pytest.approx(float(0.45 * parts[0] + 0.1 * parts[1] + 0.45 * parts[2]))
    plain = weighted_error(given, wanted, path, weights=None)
    assert float(plain) == pytest.approx(float((given - wanted).square().mean()))
    bare = Path(states(2), {"cls": slice(0, 1), "patches": slice(1, 7)})
    halves = [(given[:, g] - wanted[:, g]).square().mean() for g in bare.groups.values()]
    both = weighted_error(given, wanted, bare, weights=weights)
    assert float(both) == pytest.approx(float(0.5 * halves[0] + 0.5 * halves[1]))


def test_padding_does_not_count():
    given, wanted = states(1)[0], states(1, 1)[0]
    real = torch.ones(2, 7, dtype=torch.bool)
    real[1, 4:] = False
    path = Path(states(2), {"all": slice(None)}, real)
    rows = (given - wanted).square().mean(-1)[real]
    assert float(weighted_error(given, wanted, path, weights=None)) == pytest.approx(float(rows.mean()))


def test_teacher_forcing_and_the_closed_loop_meet_where_the_teacher_is_the_block_itself():
    torch.manual_seed(0)
    one, two = (RaptorBlock(BlockSizes(8, 2), layer_scale=0.5).requires_grad_(False) for _ in range(2))
    path = [states(1)[0]]
    for layer in range(1, 6):
        path.append((one if layer <= 3 else two)(path[-1], layer))
    taught, spans = Path(torch.stack(path), GROUPS), [range(3), range(3, 5)]
    ways = {
        "forced": torch.cat([forced(b, taught, s, start=0) for b, s in zip((one, two), spans, strict=True)]),
        "looped": looped([one, two], taught, spans, start=0, again=False),
        "computed again": looped([one, two], taught, spans, start=0, again=True),
    }
    for made in ways.values():
        assert torch.allclose(made, taught.states[1:], atol=1e-5)
    wrong = looped([one, one], taught, spans, start=0, again=False)
    assert float(distance(wrong, taught, slice(1, None), weights=None, relative=False)) > 1e-3
    later = Path(taught.states[3:], GROUPS)  # a span that does not begin with the first block
    assert torch.allclose(forced(two, later, range(3, 5), start=3), taught.states[4:], atol=1e-5)


def test_relative_errors_do_not_depend_on_how_long_states_are():
    lengths = torch.tensor([1.0, 10.0, 1000.0])[:, None, None, None]
    path = Path(torch.cat([states(1), states(3, 1) * lengths]), GROUPS)
    made = path.states[1:] * 1.1
    found = distance(made, path, slice(1, None), weights=None, relative=True)
    assert float(found) == pytest.approx(0.01, rel=1e-3)


def test_rates_rise_then_fall_and_teacher_forcing_ends_after_a_quarter():
    settings = Distilling(steps=100, lr=1.0, floor=0.1, warmup=10)
    rates = [settings.rate(step, 100) for step in range(100)]
    assert rates[:10] == pytest.approx([(i + 1) / 11 for i in range(10)]) and rates[10] == 1
    assert rates[55] == pytest.approx(0.1 + 0.9 * (1 + math.cos(math.pi * 0.5)) / 2)
    assert rates[99] == pytest.approx(0.1, abs=0.01) and sorted(rates[10:], reverse=True) == rates[10:]
    assert [settings.forcing(step) for step in (0, 5, 24, 25, 99)] == pytest.approx([1, 0.8, 0.04, 0, 0])


def test_every_input_comes_once_a_round_and_any_step_can_be_asked_for():
    data = torch.arange(10)
    batch = batches(data, 4, seed=3)
    taken = [batch(step) for step in range(5)]
    assert sorted(torch.cat(taken).tolist()) == sorted([*range(10)] * 2)
    assert sorted(torch.cat(taken[:2]).tolist() + taken[2][:2].tolist()) == list(range(10))
    assert torch.equal(batches(data, 4, seed=3)(3), taken[3])
    assert batches([f"text {i}" for i in range(3)], 2, seed=0)(0)[0].startswith("text")
    assert batches(lambda step: step * 2, 2, seed=0)(21) == 42


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"steps": 0}, "steps=0"),
        ({"lr": -1}, "lr=-1"),
        ({"annealed": 1.5}, "from 0 to 1"),
        ({"last": {"cls": -1}}, "a weight for each group"),
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong, says):
    with pytest.raises(sl.SteerlabError, match=says):
        Distilling(**wrong)

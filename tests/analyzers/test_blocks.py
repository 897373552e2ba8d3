"""Blocks: a planted circle is found and steered, inputs are held out, and a report can be applied."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

import steerlab as sl
from steerlab.analyzers.blocks import Blocks, factor_of
from steerlab.analyzers.blocks.sampling import gathered
from steerlab.errors import SteerlabError
from steerlab.inputs import Curves
from steerlab.zoo.curves import Arcs

DIM = 24


class Turned(nn.Module):
    """Two linear blocks after which a circle, hidden in eight directions of noise, can be read."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(nn.Linear(DIM, DIM, bias=False) for _ in range(2))
        for number, block in enumerate(self.blocks):
            generator = torch.Generator().manual_seed(number)
            block.weight.data = torch.linalg.qr(torch.randn(DIM, DIM, generator=generator))[0]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for block in self.blocks:
            x = block(x)
        return x


@pytest.fixture(scope="module")
def turned() -> sl.Model:
    return sl.wrap(Turned())


@pytest.fixture(scope="module")
def circles() -> tuple[torch.Tensor, torch.Tensor]:
    """``[input, token, dim]`` with a circle in a plane of half the tokens, and angles, nan elsewhere."""
    generator = torch.Generator().manual_seed(5)
    angle = 2 * math.pi * torch.rand(60, 12, generator=generator)
    other = torch.randn(60, 12, 2, generator=generator)
    shown = torch.rand(60, 12, generator=generator) < 0.5
    x = 0.05 * torch.randn(60, 12, DIM, generator=generator)
    x[..., 0] += torch.where(shown, 2 * angle.cos(), 0.0)
    x[..., 1] += torch.where(shown, 2 * angle.sin(), 0.0)
    x[..., 2:4] += torch.where(shown[..., None], 0.0, 2 * other)
    return x, torch.where(shown, angle, torch.nan)


ASK = {
    "kind": "block",
    "blocks": 6,
    "size": 2,
    "active": 1,
    "steps": 150,
    "lr": 1e-2,
    "rows": 600,
    "steered": 6,
    "controls": 2,
}
HERE, LATER = "module:blocks.0", "module:blocks.1"


@pytest.fixture(scope="module")
def report(turned, circles):
    x, angle = circles
    known = {"angle": {"values": angle[:, :, None], "period": 2 * math.pi}}
    return Blocks(HERE, known=known, readout=LATER, **ASK)(turned, x)


def test_the_block_of_the_circle_is_found_and_no_line_says_as_much(report):
    following, steering, saved = report.evidence
    table = report.tables["readers"]
    readers = dict(zip(table["reader"], table["share explained"].tolist(), strict=True))
    scores = dict(zip(table["reader"], table["score"].tolist(), strict=True))
    direction, line, subspace, shuffled = following.controls
    assert following.effect > 0.95 and max(direction, line, abs(shuffled)) < 0.5
    # with so little noise a plane that holds a part of the ring's says the angle too, but less well
    assert subspace == pytest.approx(scores["best random subspace"]) and subspace < following.effect - 0.005
    assert readers["random subspace"] < readers["best random subspace"] < readers["whole activation"]
    assert readers["whole activation"] > 0.95
    assert readers["best single direction"] < 0.75 and abs(readers["shuffled values"]) < 0.1
    assert saved.effect > 0  # a plane in the place of two directions


def test_steering_along_the_curve_arrives_and_other_steps_do_not(report):
    steering = report.evidence[1]
    assert steering.effect > 0.8 and max(steering.controls) < 0.5 and steering.floor == 0
    table = report.tables["steering"]
    assert torch.allclose(table["way of the read-out"].float(), table["move"], atol=0.15)
    assert bool((table["along the curve"] > 0.7).all())


def test_what_is_found_can_be_applied_and_drawn(report, turned, circles, tmp_path):
    x, angle = circles
    move = next(edit for name, edit in report.interventions.items() if name.startswith("move angle"))
    ring = ~angle.isnan()
    with turned.edit(move):
        moved = turned.capture(x, HERE)[HERE]
    weight = turned.module.blocks[0].weight.detach()
    plane = torch.linalg.inv(weight).T
    before, after = ((part @ plane)[ring] for part in (x @ weight.T, moved))
    way = torch.atan2(after[:, 1], after[:, 0]) - torch.atan2(before[:, 1], before[:, 0])
    missed = torch.remainder(way - math.pi / 2 + math.pi, 2 * math.pi) - math.pi
    assert float(missed.abs().quantile(0.9)) < 0.2
    again = sl.Report.load(report.save(tmp_path))
    assert str(again) == str(report) and set(again.figures()) == set(report.plots)


def test_inputs_of_odd_number_are_held_out_and_known_tokens_are_kept(turned, circles):
    x, angle = circles
    ask = Blocks(HERE, known={"angle": {"values": angle[:, :, None]}}, rows=60, batch=7)
    factor = factor_of(ask.known, None)
    sample = gathered(turned, x, (turned.site(HERE), None), factor=factor, ask=ask)
    fitting, held_out = sample.halves()
    assert set((fitting.inputs % 2).tolist()) == {0} and set((held_out.inputs % 2).tolist()) == {1}
    assert len(sample.known().rows) == int((~angle.isnan()).sum())
    assert torch.allclose(sample.known().values.double(), angle[~angle.isnan()].double())
    assert 60 <= int(sample.drawn.sum()) <= 63 + 7
    true = x @ turned.module.blocks[0].weight.detach().T
    assert torch.allclose(sample.known().rows, true[~angle.isnan()], atol=1e-5)


def test_a_line_has_bins_of_equal_weight_and_an_angle_the_short_way():
    line = factor_of({"size": {"values": torch.arange(48.0).tolist()}}, None)
    labels, places = line.bins(line.values)
    assert labels.bincount().tolist() == [4] * 12 and places[0] == pytest.approx(1.5)
    angle = factor_of({"a": {"values": [0.0], "period": 180.0}}, None)
    assert angle.way(torch.tensor([170.0]), torch.tensor([10.0])).tolist() == [20.0]
    assert angle.bins(torch.tensor([179.9, 0.0, 181.0]))[0].tolist() == [11, 0, 0]
    assert abs(angle.middle(torch.tensor([89.0, -89.0]))) == pytest.approx(90.0)
    with pytest.raises(SteerlabError, match="nothing is known of 'hue'"):
        factor_of({"a": {"values": [0.0]}}, None, "hue")


def test_without_a_factor_blocks_are_measured_and_ablated(turned, circles):
    report = Blocks(HERE, **ASK)(turned, circles[0])
    assert set(report.tables) == {"bits", "fullness"} and len(report.evidence) == 1
    bits = report.tables["bits"]
    parts = sum(bits[name] for name in ("support", "code", "residual", "dictionary"))
    assert torch.allclose(parts, bits["total"]) and bits["active coordinates"].tolist() == [2, 2]
    assert bool((bits["R2"] > 0.5).all())
    (name,) = report.interventions
    assert name.startswith("ablate block") and report.tables["fullness"]["utilisation"].max() <= 1 + 1e-6


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "grassmanian"}, r"kind='grassmanian'; did you mean 'grassmannian'"),
        ({"distortion": 1.5}, r"distortion=1.5 is not a share"),
        ({"readout": "blocks.1.resid"}, r"a readout needs known="),
        ({"size": 0}, r"size=0 is not a whole number"),
    ],
)
def test_what_does_not_fit_is_refused(settings, message):
    with pytest.raises(SteerlabError, match=message):
        Blocks("blocks.0.resid", **settings)


def test_a_known_quantity_of_another_number_of_inputs_is_refused(turned, circles):
    with pytest.raises(SteerlabError, match=r"angle is known of 3 inputs, there are 60"):
        Blocks(HERE, known={"angle": {"values": [1.0, 2.0, 3.0]}}, **ASK)(turned, circles[0])


def test_curves_know_their_orientation():
    """One circle about the middle: horizontal above and below, vertical at the sides."""
    arcs = Arcs(torch.tensor([[[0.5, 0.5], [9.0, 9.0]]]), torch.tensor([[0.4375 - 1e-3, 0.1]]))
    angle = arcs.orientation(8, 9)[0]  # nine columns: one in the middle
    above = float(angle[0, 4])
    assert min(above, math.pi - above) == pytest.approx(0.0, abs=1e-3)
    found = Curves(6, 1, 96).known(12, 12)["orientation"]
    assert found[1] == math.pi and found[0].shape == (6, 12, 12)
    known = found[0][~found[0].isnan()]
    assert len(known) > 60 and bool(((known >= 0) & (known < math.pi)).all())
    pictures = Curves(2, 1, 48).load(None)
    assert pictures[0].size == (48, 48) and pictures[0] == Curves(2, 1, 48).load(None)[0]
    with pytest.raises(SteerlabError, match="Curves: side=8"):
        Curves(side=8)

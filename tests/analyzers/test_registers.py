"""Registers on a model with planted register neurons: found, and the long tokens move with them."""

from __future__ import annotations

import copy

import pytest
import torch

import steerlab as sl
from steerlab.analyzers.registers import Registers
from steerlab.analyzers.registers.heads import _quiet
from steerlab.analyzers.registers.measuring import neighbours
from steerlab.edits import Gate
from steerlab.errors import SteerlabError
from steerlab.inputs import Scenes

CORNERS = [5, 68]  # tokens
PLANTED = {1: [7, 300], 2: [11]}  # block: neurons
SMALL = {"neurons": 3, "controls": 1, "measured": 4, "batch": 6}


def random(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def pictures() -> list:
    return Scenes(12, 3).load(None)


def direction_of(x: torch.Tensor, tokens: list[int]) -> torch.Tensor:
    """By ridge regression: about 1 at these tokens of ``[picture, token, dim]`` and about 0 at all others."""
    wanted = torch.zeros(x.shape[:2])
    wanted[:, tokens] = 1
    flat = x.flatten(0, 1)
    return torch.linalg.solve(flat.T @ flat + 1e-2 * torch.eye(x.shape[2]), flat.T @ wanted.flatten())


@pytest.fixture(scope="module")
def planted(pictures) -> sl.Model:
    """shapes-vit in which three neurons fire at two corners of the grid alone and write one direction."""
    plain = sl.load("zoo:shapes-vit")
    module = copy.deepcopy(plain.module)
    held = sl.wrap(module, plain.processor)
    long = torch.nn.functional.normalize(random(128), dim=0)
    for block, neurons in PLANTED.items():
        mlp = module.encoder.layer[block].mlp
        with torch.no_grad():
            normed = module.encoder.layer[block].norm2(
                held.capture(pictures, f"blocks.{block}.resid_mid")[f"blocks.{block}.resid_mid"]
            )
            w = direction_of(normed, CORNERS)
            for neuron in neurons:
                mlp.fc1.weight[neuron], mlp.fc1.bias[neuron] = 24 * w, -12
                mlp.fc2.weight[:, neuron] = 6 * long / module.encoder.layer[block].layer_scale2.lambda1
    return held


@pytest.fixture(scope="module")
def report(planted, pictures) -> sl.Report:
    return Registers(**SMALL)(planted, pictures)


def column(report: sl.Report, name: str) -> dict[str, float]:
    table = report.tables["remedies"]
    return dict(zip(table["remedy"], table[name].tolist(), strict=True))


def test_planted_neurons_are_found_and_the_lengths_have_two_modes(report):
    table = report.tables["neurons"]
    found = set(zip(table["block"].tolist(), table["neuron"].tolist(), strict=True))
    assert found == {(block, one) for block, neurons in PLANTED.items() for one in neurons}
    assert (table["at long patches"] > 5 * table["at all patches"]).all()
    lengths = report.tables["lengths"]
    assert lengths["two modes"][0] == "no" and lengths["two modes"][4] == "yes"
    assert lengths["longest"][4] > 3 * lengths["median"][4]
    assert "two modes" in report.about


def test_a_test_time_register_takes_the_long_patches_away_and_random_neurons_do_not(
    report, planted, pictures
):
    long = column(report, "long patches")
    assert 0.01 < long["nothing"] < 0.06
    assert long["test-time register"] == long["register neurons silenced"] == 0
    assert all(long[f"test-time register random {seed}"] > 0.7 * long["nothing"] for seed in range(1))
    assert report.evidence[0].effect == pytest.approx(long["nothing"]) and report.evidence[0].controls
    lengths = []
    for edit in ({}, report.interventions["test-time register"]):
        with planted.edit(edit, strict=False) if edit else torch.no_grad():
            lengths.append(planted.capture(pictures, "blocks.4.resid")["blocks.4.resid"].norm(dim=-1))
    assert lengths[1][:, 1].min() > 2 * lengths[0][:, 1].max()  # the first register carries it now
    for edits in report.interventions["test-time register"].edits.values():
        on = edits[0].scope.tokens  # the patches and the first register; nothing else is touched
        assert on[1] and on[5:].all() and int(on.sum()) == 65


def test_long_tokens_are_cut_or_overwritten_and_registers_overwritten(report):
    long, smooth = column(report, "long patches"), column(report, "roughness")
    assert long["long tokens cut"] == long["long tokens zero"] == 0
    assert smooth["long tokens cut"] < smooth["nothing"] and smooth["test-time register"] < smooth["nothing"]
    change = column(report, "change of the output")
    assert change["nothing"] == 0 and change["registers their means"] < change["registers zero"]


def test_its_interventions_are_saved_and_do_the_same_again(report, planted, pictures, tmp_path):
    again = sl.Report.load(report.save(tmp_path))
    assert again.tables["remedies"]["remedy"] == report.tables["remedies"]["remedy"]
    for name, one in report.interventions.items():
        ends = []
        for edit in (one, again.interventions[name]):
            with planted.edit(edit, strict=False):
                ends.append(planted.capture(pictures[:2], "final")["final"])
        assert torch.equal(*ends), name
    figures = again.figures()
    assert set(figures) == {"lengths", "remedies", "maps"}


def test_a_length_may_be_given_and_the_token_chosen(planted, pictures):
    report = Registers(above=60.0, token=3, probe="blocks.3.resid", below=1, **SMALL)(planted, pictures[:4])
    assert "as asked" in report.about and "token 3" in report.about
    assert set(report.tables["neurons"]["block"].tolist()) <= {0, 1}
    edit = report.interventions["test-time register"].edits["blocks.1.mlp.act"][0]
    assert edit.edit.token == 3


def test_a_model_without_long_tokens_says_so(pictures):
    report = Registers(**SMALL)(sl.load("zoo:shapes-vit"), pictures[:4])
    assert "one mode" in report.about and set(report.tables["lengths"]["two modes"]) == {"no"}


def test_a_planted_no_op_head_is_found_and_gating_it_changes_nothing(planted, pictures):
    """Every query of head 2 of block 3 looks at the class token, whose value there is zero."""
    module = copy.deepcopy(planted.module)
    attention = module.encoder.layer[3].attention
    rows = slice(64, 96)
    with torch.no_grad():
        for part in (attention.q_proj, attention.k_proj):
            part.weight[rows], part.bias[rows] = 0, 0
        attention.q_proj.bias[rows] = 100.0
        entering = planted.capture(pictures, "blocks.3.resid_pre")["blocks.3.resid_pre"]
        normed = module.encoder.layer[3].norm1(entering)
        attention.k_proj.weight[rows] = direction_of(normed, [0])
        attention.v_proj.bias[rows] = random(32)  # and the class token's part takes it away again
        attention.v_proj.weight[rows] = -torch.outer(random(32), direction_of(normed, [0]))
    model = sl.wrap(module, planted.processor)
    report = Registers(gates=1, **SMALL)(model, pictures[:6])
    heads = report.tables["heads"]
    assert heads["site"][int(heads["no-op"].argmax())] == "blocks.3.pattern.2" and heads["no-op"].max() == 1
    assert report.interventions["no-op heads gated"].edits.keys() == {"blocks.3.pattern.2"}
    change = column(report, "change of the output")
    assert change["no-op heads gated"] < 0.02 < change["test-time register"]


def test_a_no_op_head_has_a_sink_and_its_value_is_short():
    """Four heads: sink and no value, sink and value, no sink and no value, a sink of four in five queries."""
    pattern = torch.full((1, 4, 10, 10), 0.02)
    pattern[:, [0, 1], :, 3] = pattern[:, 3, :8, 3] = 0.82
    pattern[:, 2] = 0.1
    pattern[:, 3, 8:] = 0.1
    value = torch.ones(1, 4, 10, 6)
    value[:, [0, 3], 3] = 0.1
    value[:, 2, 0] = 0.1
    looks = sl.Looks(value, value, value, value, lambda rows, keys: pattern, pattern=pattern)
    quiet, mass = _quiet(looks)
    assert quiet.tolist() == [[1, 0, 0, 0]]
    assert mass[0].tolist() == pytest.approx([0.82, 0.82, 0.1, (8 * 0.82 + 0.2) / 10])


def test_neighbours_are_side_by_side_and_one_below_the_other():
    grid = torch.tensor([[[0.0, 1.0, 3.0], [0.0, 0.0, 7.0]]])
    steps = [1, 2, 0, 7, 0, 1, 4]
    found = neighbours(grid, 2, lambda a, b: (a - b).abs())
    assert float(found) == pytest.approx(sum(steps) / 7)
    assert float(neighbours(grid[:, None], 3, lambda a, b: (a - b).abs())) == pytest.approx(sum(steps) / 7)


@pytest.mark.parametrize(
    "wrong, message",
    [({"above": 0.0}, "above=0.0"), ({"neurons": 0}, "neurons=0"), ({"below": -1}, "below=-1")],
)
def test_wrong_settings_are_refused(wrong, message):
    with pytest.raises(SteerlabError, match=message):
        Registers(**wrong)
    with pytest.raises(SteerlabError, match="above"):
        Gate(above=2.0)

"""Groups of atoms: both ablations on a circle held whole and in tiles, planted groups, manifolds, files."""

from __future__ import annotations

import math

import pytest
import torch
from planted_circle import circle, on_circle, planted_spins

import steerlab as sl
from steerlab.atoms import AtomGroup, Grouping, atom_groups
from steerlab.bases.encoders import Linear
from steerlab.bases.rules import Relu, TopK


def signed_axes() -> tuple[sl.Dictionary, torch.Tensor]:
    """A circle as four half axes, which a ReLU fires as they are needed: it is held whole."""
    data = circle()
    half = torch.cat([data.axes[:2], -data.axes[:2], data.axes[2:12]]).float()
    weight = half.T.contiguous()
    bias = torch.zeros(14)
    bias[4:] = -10.0
    return sl.Dictionary(decoder=half, encoder=Linear(weight, bias, Relu())), data.x.float()


def tiled() -> tuple[sl.Dictionary, torch.Tensor]:
    """The same circle as eight tiles, of which one fires."""
    data = circle()
    atoms = data.tiles[:8].float()
    return sl.Dictionary(
        decoder=atoms, encoder=Linear(atoms.T.contiguous(), torch.zeros(8), TopK(1))
    ), data.x.float()


def test_both_ablations_agree_on_a_manifold_held_whole_and_differ_on_a_tiled_one():
    whole, x = signed_axes()
    held = AtomGroup(whole, torch.arange(4))
    torch.testing.assert_close(held.ablation("codes")(x), held.ablation("span")(x), atol=1e-5, rtol=0)
    torch.testing.assert_close(held.ablation("codes")(x), x - held.contribution(x), atol=1e-6, rtol=0)
    broken, x = tiled()
    tiles = AtomGroup(broken, torch.arange(8))
    codes, span = tiles.ablation("codes")(x), tiles.ablation("span")(x)
    frame = torch.linalg.svd(broken.decoder).Vh[:2]
    torch.testing.assert_close(span @ frame.T, torch.zeros(len(x), 2), atol=1e-5, rtol=0)
    # what one tile of eight leaves of the circle: 1 - .9502 of its energy
    left = float((codes @ frame.T).square().sum() / (x @ frame.T).square().sum())
    assert left == pytest.approx(1 - 0.9502, abs=0.005)


def test_a_span_is_taken_out_around_the_bias():
    whole, x = signed_axes()
    bias = torch.randn(64, generator=torch.Generator().manual_seed(0))
    shifted = sl.Dictionary(decoder=whole.decoder, encoder=whole.encoder, bias=bias, pre_bias=bias)
    group = AtomGroup(shifted, [0, 1, 2, 3])
    y = x + bias
    torch.testing.assert_close(group.ablation("span")(y), group.ablation("codes")(y), atol=1e-5, rtol=0)
    rest = group.ablation("span")(y)
    torch.testing.assert_close(group.ablation("span")(rest), rest, atol=1e-5, rtol=0)


@pytest.mark.parametrize("within", ["span", "codes"])
def test_a_manifold_inside_the_group_moves_what_it_holds_and_nothing_else(within):
    whole, x = signed_axes()
    data = circle()
    labels = (data.angles / (2 * math.pi) * 12 + 0.5).long() % 12
    turn = torch.arange(12, dtype=torch.float64) / 12 * 2 * math.pi
    shape = sl.Shape(coords=turn, periods=(2 * math.pi,))
    group = AtomGroup(whole, [0, 1, 2, 3])
    manifold = group.fit_manifold(x, labels, shape=shape, within=within)
    moved = sl.Move(manifold, torch.tensor([math.pi / 2]))(x)
    frame = data.axes[:2].float()
    quarter = on_circle(data.angles + math.pi / 2).float()
    torch.testing.assert_close(moved @ frame.T, quarter, atol=0.12, rtol=0)
    rest = x - x @ frame.T @ frame
    torch.testing.assert_close(moved - moved @ frame.T @ frame, rest, atol=1e-4, rtol=0)


def test_clamped_codes_are_the_wanted_ones_and_the_rest_stays():
    whole, x = signed_axes()
    group = AtomGroup(whole, [0, 1, 2, 3])
    wanted = torch.tensor([0.6, 0.8, 0.0, 0.0])
    after = whole.encode(group.clamp(wanted)(x))
    torch.testing.assert_close(after[:, :4], wanted.expand(len(x), 4), atol=1e-5, rtol=0)
    half = group.clamp(wanted, 0.5)(x)
    torch.testing.assert_close(half, (x + group.clamp(wanted)(x)) / 2, atol=1e-6, rtol=0)


@pytest.mark.parametrize("method", ["ising", "cofiring", "information"])
def test_planted_groups_are_found(method):
    generator = torch.Generator().manual_seed(1)
    fires = torch.zeros(6000, 12, dtype=torch.bool)
    fires[:, :10] = planted_spins(6000)
    fires[:, 10:] = torch.rand(6000, 1, generator=generator) < 0.4
    codes = fires * (0.5 + torch.rand(6000, 12, generator=generator))
    dictionary = sl.Dictionary(decoder=torch.eye(12), encoder=Linear(torch.eye(12), torch.zeros(12), Relu()))
    threshold = {"ising": 0.5, "cofiring": 0.9, "information": 0.2}[method]
    found = atom_groups(dictionary, codes, grouping=Grouping(method, threshold))
    members = {tuple(group.atoms.tolist()): group for group in found}
    assert {(8, 9), (10, 11)} <= set(members)
    assert members[8, 9].cohesion == members[10, 11].positive == members[8, 9].persistence == 1.0
    if method == "ising":  # tiles never fire together, so links that ask for that cannot see them
        assert members[tuple(range(8))].cohesion == -1.0


def test_cosines_group_what_points_alike_and_the_gap_is_that_of_the_contribution():
    data = circle()
    atoms = torch.cat([data.tiles[:1], data.tiles[:1] + 0.05 * data.tiles[1:2], data.tiles[9:12]]).float()
    codes = torch.rand(500, 5, generator=torch.Generator().manual_seed(0)) * (torch.rand(500, 5) < 0.5)
    dictionary = sl.Dictionary(decoder=atoms, encoder=Linear(atoms.T.contiguous(), torch.zeros(5), Relu()))
    found = atom_groups(dictionary, codes, grouping=Grouping("cosine", 0.8, common=1.0))
    assert [group.atoms.tolist() for group in found] == [[0, 1]]
    spread = torch.linalg.eigvalsh(torch.cov((codes[:, :2] @ atoms[:2]).double().T)).flip(0)
    assert found[0].gap == pytest.approx(float(spread[0] / spread[1]), rel=1e-4)


def test_an_ablation_of_a_group_is_saved_and_read(tmp_path):
    whole, x = signed_axes()
    group = AtomGroup(whole, [0, 2])
    model = sl.load("zoo:shapes-vit")
    width = model.capture(torch.zeros(1, 3, 64, 64), "final")["final"].shape[-1]
    wide = torch.nn.functional.pad(whole.decoder, (0, width - 64))
    large = AtomGroup(
        sl.Dictionary(decoder=wide, encoder=Linear(wide.T.contiguous(), torch.zeros(14), Relu())), [0, 2]
    )
    for how in ("codes", "span"):
        edit = {"final": large.ablation(how)}
        sl.save_intervention(edit, tmp_path / how, model=model)
        (again,) = sl.load_intervention(tmp_path / f"{how}.steer")["final"]
        y = torch.nn.functional.pad(x, (0, width - 64))
        assert torch.equal(again(y), large.ablation(how)(y))
    assert repr(group) == "AtomGroup([0, 2], cohesion=nan)"
    with pytest.raises(sl.SteerlabError, match=r"how='spam'; did you mean 'span'"):
        group.ablation("spam")
    with pytest.raises(sl.SteerlabError, match=r"method='isng'; did you mean 'ising'"):
        Grouping("isng")

"""A manifold as a basis: own coordinates, paths, lengths, and what its edits keep, on the planted ring."""

from __future__ import annotations

import json

import numpy as np
import planted
import planted_ring
import pytest
import torch
from conftest import build
from planted_ring import COUNT, TURN, ring

import steerlab as sl
from steerlab.bases import Manifold, Shape, fit_manifold
from steerlab.edits import Move, Toward
from steerlab.store import kinds
from steerlab.trees import built, written


def assert_close(made, wanted, atol):
    torch.testing.assert_close(made, wanted, atol=atol, rtol=0)


@pytest.fixture(scope="module")
def man():
    return planted_ring.fitted()[0]


def test_the_curve_goes_through_the_means_of_its_values(man):
    inside = man.mean + (man.centroids - man.mean) @ man.frame.T @ man.frame
    assert_close(man.decode(man.knots), inside, 1e-12)
    assert_close(man.point(3), inside[3], 1e-12)
    for order in (0, 1, 2):
        seam = man.chart.between.knots[:1]
        before, after = (man.chart.between.matrix(seam + d, order) for d in (TURN - 1e-10, 1e-10))
        assert_close(before, after, 1e-6)
    assert_close(man.decode(man.knots + TURN), man.decode(man.knots), 1e-11)


def test_adjacent_values_are_as_far_apart_along_it_as_the_methods_say(man):
    lengths = [man.arc_length(i, (i + 1) % COUNT) for i in range(COUNT)]
    assert sum(lengths) / COUNT == pytest.approx(9.79, abs=0.06)
    assert man.gap < sum(lengths) / COUNT < 1.1 * man.gap
    assert man.arc_length(0, 1) == pytest.approx(man.arc_length(1, 0))


def test_values_ascend_round_the_ring_and_none_are_far_apart_across_the_seam(man):
    steps = torch.stack([man.shift(i, (i + 1) % COUNT) for i in range(COUNT)])
    assert_close(steps, torch.full((COUNT, 1), TURN / COUNT, dtype=torch.float64), 0.05)
    assert_close(man.shift(0, 6), -man.shift(6, 0), 1e-12)


def test_an_activation_is_near_its_own_value_and_the_distance_is_in_gaps(man):
    planted_, (u, off) = ring(), man.nearest(ring().x)
    assert float(man.chart.shift(man.knots[planted_.labels], u).abs().max()) < 0.06
    assert_close(off * man.gap, (planted_.x - man.decode(u)).norm(dim=-1), 1e-9)
    away = planted_.x + 10 * man.gap * planted_.frame[20]
    assert float(off.max()) < 0.6 and float(man.nearest(away)[1].min()) > 9


def test_it_is_a_basis_whose_code_is_the_place(man):
    u = torch.linspace(0.05, 6.2, 30, dtype=torch.float64)[:, None]
    assert_close(man.encode(man.decode(u)), u, 1e-9)
    assert len(man) == 1 and man.dim == 64 and man.atoms.shape == (1, 64) and man.site is None
    slope = (man.decode(man.knots[0] + 1e-6) - man.decode(man.knots[0] - 1e-6)) / 2e-6
    assert_close(man[0], slope, 1e-6)
    with pytest.raises(sl.SteerlabError, match="lives in 64 dimensions"):
        man.encode(torch.zeros(3))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_the_own_code_is_the_identity(man, dtype):
    x = ring().x.to(dtype)
    for basis in (man, man.subspace):
        assert torch.equal(sl.Replace(x, basis)(x), x)
    moved = man.decode(man.encode(x.double())) + (x - man.decode(man.encode(x.double())))
    assert float((moved - x).norm() / x.norm()) < 1e-6


def test_projecting_out_twice_is_projecting_out_once(man):
    once = sl.Remove(man.subspace)(ring().x)
    assert_close(sl.Remove(man.subspace)(once), once, 1e-5)
    assert float((once - ring().x).norm(dim=-1).min()) > 5


def test_a_replaced_code_is_read_again(man):
    target = man.point(4)
    inside = man.subspace.encode(sl.Replace(target, man.subspace)(ring().x))
    assert_close(inside, man.subspace.encode(target).expand(70, -1), 1e-5)
    # also off the manifold the place is the target's, as long as nothing else comes nearer
    places = man.encode(Toward(man, man.place(4))(ring().x))
    assert float(man.chart.shift(man.place(4), places).abs().max()) < 0.12


def test_paths_replace_what_they_say_and_keep_the_rest(man):
    x = ring().x[:5]
    away = torch.eye(64, dtype=torch.float64) - man.frame.T @ man.frame
    for mode in ("manifold", "linear_subspace"):
        path = man.path(1, 4, count=9, mode=mode)
        assert len(path) == 9 and path.basis is not None
        steered = planted_ring.steered(path, x)
        assert_close((steered - x[:, None]) @ away, torch.zeros(5, 9, 64, dtype=torch.float64), 1e-5)
        assert_close(
            (steered - man.mean) @ man.frame.T,
            ((path.points - man.mean) @ man.frame.T).expand(5, 9, 16),
            1e-5,
        )
    path = man.path(1, 4, count=9, mode="linear")
    assert_close(planted_ring.steered(path, x), path.points.expand(5, 9, 64), 0)
    assert_close(path.points[[0, -1]], man.centroids[[1, 4]], 1e-12)


def test_a_path_runs_on_the_curve_the_short_way_and_beyond_its_ends(man):
    for a, b in planted_ring.PAIRS:  # some of them across the seam
        length = man.path(a, b, count=151).points.diff(dim=0).norm(dim=-1).sum()
        assert float(length) == pytest.approx(man.arc_length(a, b))
    path = man.path(6, 1, count=5)
    assert_close(path.points[2], man.decode(man.place(6) + man.shift(6, 1) / 2), 1e-12)
    assert float((path.points - man.point(0)).norm(dim=-1)[2]) < 1
    far = man.path(0, 1, count=7, span=(-1.0, 2.0))
    assert_close(far.fractions, torch.linspace(-1, 2, 7, dtype=torch.float64), 1e-12)
    assert_close(far.points[[2, 4]], torch.stack([man.point(0), man.point(1)]), 1e-12)
    assert float((far.points[-1] - man.point(2)).norm()) < 1
    straight = man.path(0, 1, count=7, span=(-1.0, 2.0), mode="linear").points
    assert_close(straight[-1], 2 * man.centroids[1] - man.centroids[0], 1e-12)


def test_at_a_place_between_values_a_line_begins_on_the_curve(man):
    path = man.path(0.4, torch.tensor([1.9]), mode="linear", count=3)
    assert_close(path.points[[0, 2]], man.decode(torch.tensor([[0.4], [1.9]])).double(), 1e-5)


def test_it_comes_back_from_a_file_to_the_bit(man, tmp_path):
    facts = {"site": "blocks.2.resid", "model": "tiny", "coords": "angle"}
    names = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
    kept = Manifold(man.mean, man.frame, man.centroids, man.knots, man.periods, 0.1, None, names, facts)
    plain, tensors = written(Move(kept, kept.shift("Mon", "Tue")), kinds())
    again = built(json.loads(json.dumps(plain)), tensors, kinds())
    x = ring().x.float()
    assert torch.equal(again(x), Move(kept, kept.shift("Mon", "Tue"))(x))
    assert again.basis.names == names and again.basis.facts == facts and again.basis.smooth == 0.1
    assert str(again.basis.site) == "blocks.2.resid" and again.basis.periods == (TURN,)
    assert set(tensors) == {"by", *(f"basis.{n}" for n in ("mean", "frame", "centroids", "knots"))}


def test_values_are_found_by_name(man):
    names = [f"day {i}" for i in range(COUNT)]
    named = fit_manifold(ring().x, ring().labels, shape=Shape("angle", names=names), pca=16)
    assert_close(named.place("day 3"), man.place(3), 0)
    for third in (3, torch.tensor(3), np.int64(3)):
        assert_close(named.place(third), man.place(3), 0)
    assert_close(named.place(3.0), torch.tensor([3.0], dtype=torch.float64), 0)  # a place, not a value
    with pytest.raises(sl.SteerlabError, match=r"no value 'day3'; did you mean 'day 3'\? \(known: day 0,"):
        named.point("day3")


def test_gradients_pass_through_a_move_and_reach_the_place(man):
    x = ring().x[:1].clone().requires_grad_()
    edit = Move(man, 0.7)
    assert torch.autograd.gradcheck(edit, (x,), eps=1e-5, atol=1e-3)
    places = torch.tensor([[0.3], [2.0]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(man.decode, (places,))


def test_a_surface_over_two_coordinates_is_a_basis_too():
    around, across = torch.cartesian_prod(torch.arange(8.0), torch.arange(4.0)).double().unbind(-1)
    angle = around * TURN / 8
    g = planted.generator(0)
    frame = torch.linalg.qr(planted.randn(20, 3, g=g)).Q.T
    x = torch.stack([5 * angle.cos(), 5 * angle.sin(), 3 * across], -1) @ frame
    x = x.repeat(3, 1) + 0.01 * planted.randn(96, 20, g=g)
    coords = torch.stack([angle, across], -1)
    tube = fit_manifold(x, torch.arange(32).repeat(3), shape=Shape(coords, periods=(TURN, None)), pca=8)
    assert repr(tube) == "Manifold(32 values, surface, dim=20)" and len(tube) == 2
    places = tube.encode(x[:32])
    assert float(tube.chart.shift(coords, places).abs().max()) < 0.02
    there = tube.encode(Move(tube, torch.tensor([TURN / 8, 0.5]))(x[:32]))
    expected = coords + torch.tensor([TURN / 8, 0.5])
    kept = across < 3
    assert float(tube.chart.shift(expected, there)[kept].abs().max()) < 0.1
    found = fit_manifold(x, torch.arange(32).repeat(3), shape=Shape("auto", dim=2), pca=8)
    assert found.periods == (TURN, None) and found.facts["coords"] == "suggested"


def test_in_a_model_it_steers_generates_and_is_saved(tmp_path):
    llama = build("llama")
    lm, inputs, at = llama.model, llama.tiny.inputs, "blocks.1.resid"
    x = lm.capture(inputs, at=at)[at]
    rows = x.reshape(-1, x.shape[-1])[:8]
    man = fit_manifold(rows, torch.arange(8) // 2, shape=Shape("ordinal"), facts={"site": at})
    assert str(man.site) == at
    edits = {at: Move(man, 0.8).on(tokens="last")}
    folder = sl.save_intervention(edits, tmp_path / "later", model=lm)
    again = sl.load_intervention(folder)
    plain = lm.logits(inputs)
    with lm.edit(edits):
        steered = lm.logits(inputs)
    with lm.edit(again):
        loaded = lm.logits(inputs)
    assert torch.equal(steered, loaded) and not torch.equal(steered[:, -1], plain[:, -1])
    assert torch.equal(steered[:, :-1], plain[:, :-1])
    spoken = lm.generate(inputs, edit={at: Move(man, 0.8)}, max_new_tokens=3)
    moved = spoken.receipt[at]
    assert moved.fires == 3 and spoken.new_ids.shape[1] == 3


REFUSED = {
    "labels that leave one out": (
        (torch.randn(6, 4), [0, 0, 2, 2, 3, 3]),
        {},
        r"number three values or more",
    ),
    "labels of other data": ((torch.randn(6, 4), [0, 1, 2]), {}, r"\[6, 4\] and \[3\]"),
    "names of the wrong number": (
        (torch.randn(6, 4), [0, 0, 1, 1, 2, 2]),
        {"shape": Shape("ordinal", names=("a",))},
        "1 names for 3 values",
    ),
    "a rule that is none": (
        (torch.randn(6, 4), [0, 0, 1, 1, 2, 2]),
        {"shape": Shape("angel")},
        "did you mean 'angle'",
    ),
    "periods of found coordinates": (
        (torch.randn(6, 4), [0, 0, 1, 1, 2, 2]),
        {"shape": Shape("angle", periods=(7.0,))},
        "finds its own periods",
    ),
    "two values at one place": (
        (torch.randn(6, 4), [0, 0, 1, 1, 2, 2]),
        {"shape": Shape(torch.tensor([0.0, 1.0, 1.0]))},
        "no two are one",
    ),
    "gaps in the data": ((torch.full((6, 4), torch.nan), [0, 0, 1, 1, 2, 2]), {}, "24 of 24 entries are NaN"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_fitted_is_refused(what):
    arguments, options, message = REFUSED[what]
    with pytest.raises(sl.SteerlabError, match=message):
        fit_manifold(*arguments, **options)


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda m: m.path(0, 1, mode="curve"), "known: manifold, linear, linear_subspace"),
        (lambda m: m.path(0, 1, count=1), "two waypoints or more"),
        (lambda m: m.point(7), "values 0 to 6"),
        (lambda m: m.point(torch.zeros(2)), "a place has 1 coordinates"),
    ],
)
def test_what_it_has_not_is_refused(man, ask, message):
    with pytest.raises(sl.SteerlabError, match=message):
        ask(man)

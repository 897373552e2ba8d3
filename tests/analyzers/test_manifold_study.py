"""Ways along a planted ring: the energies that are known of it, and what the tables make of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import pytest
import torch
from planted_ring import COUNT, PAIRS, fitted, gap_of, ring

from steerlab.analyzers.manifold_steering import tables
from steerlab.analyzers.manifold_steering.prompts import Concept, Prompt
from steerlab.analyzers.manifold_steering.steering import WAYS, own, way
from steerlab.analyzers.manifold_steering.study import Steered, aimed, pairs_of, walks
from steerlab.numerics.simplex import bhattacharyya

VALUES = Concept(tuple("abcdefg"))
MODES = tuple(WAYS)
BASE = 8


@dataclass(frozen=True)
class RingAnswers:
    """What a model of the planted ring says: the read-out of the edited activation itself."""

    base: torch.Tensor
    site: str = "blocks.0.resid"

    def under(self, edit, values):
        rows = self.base.expand(len(values), -1, -1)
        return ring().read(edit(values[:, None])(rows))

    def unedited(self):
        return ring().read(self.base)


@cache
def steered() -> Steered:
    planted, (manifold, _) = ring(), fitted()
    rows = torch.randperm(len(planted.x), generator=torch.Generator().manual_seed(0))[:BASE]
    labels = planted.labels[rows]
    prompts = [Prompt(f"prompt {i}", 0, None, int(one), 0) for i, one in enumerate(labels)]
    base = planted.x[rows].double()
    said = ring().read(base)[:, :-1].argmax(-1)
    return Steered(RingAnswers(base), prompts, base, said, manifold)


@cache
def walked_pairs() -> dict:
    return walks(steered(), fitted()[1], PAIRS, MODES, 50)


def test_energies_are_those_known_of_the_ring():
    means = tables.mean_table(walked_pairs(), MODES)
    energy = dict(zip(means["mode"], means["energy"].tolist(), strict=True))
    assert energy["manifold"] == pytest.approx(0.032, abs=0.004)
    assert energy["linear"] == pytest.approx(6.29, abs=0.05)
    error = dict(zip(means["mode"], means["error over pairs"].tolist(), strict=True))
    assert error["linear"] == pytest.approx(1.61, abs=0.03) and error["manifold"] < 0.001
    assert energy["linear_subspace"] == pytest.approx(energy["linear"], rel=0.02)
    mass = dict(zip(means["mode"], means["mass"].tolist(), strict=True))
    assert 1 - mass["manifold"] == pytest.approx(0.022, abs=0.006) and mass["linear"] < 0.95


def test_energies_by_gap_and_their_tests():
    found = tables.gap_table(walked_pairs(), VALUES, MODES)
    assert found["gap"].tolist() == [1, 2, 3]
    assert torch.allclose(found["manifold"], torch.full((3,), 0.032).double(), atol=0.004)
    assert torch.allclose(found["linear"], torch.tensor([0.110, 2.38, 16.4]).double(), rtol=0.02)
    assert torch.isfinite(found["linear low"]).all()
    few = {key: one for key, one in walked_pairs().items() if key[0] in ((0, 1), (0, 2))}
    assert list(tables.gap_table(few, VALUES, ["linear"])) == ["gap", "linear"]  # no errors of single pairs
    tests = tables.test_table(walked_pairs(), MODES)
    rows = list(zip(tests["mode"], tests["against"], strict=True))
    row = rows.index(("manifold", "linear"))
    from scipy.stats import ttest_rel

    several = [[walked_pairs()[p, m].energy.mean().item() for p in PAIRS] for m in ("linear", "manifold")]
    wanted = ttest_rel(*several)
    assert float(tests["t"][row]) == pytest.approx(wanted.statistic)
    assert float(tests["p"][row]) == pytest.approx(wanted.pvalue)


def test_short_ways_share_forwards_and_keep_their_own_numbers():
    pairs, modes = [(0, 1), (0, 3), (2, 5)], ("manifold", "move", "random")
    together = walks(steered(), fitted()[1], pairs, modes, 4)
    assert list(together) == [(pair, mode) for pair in pairs for mode in modes]
    for pair in pairs:
        alone = walks(steered(), fitted()[1], [pair], modes, 4)
        for mode in modes:
            one, other = together[pair, mode], alone[pair, mode]
            assert torch.allclose(one.behaviour, other.behaviour) and torch.allclose(one.size, other.size)
            assert torch.allclose(one.energy, other.energy) and len(one.behaviour) == 4


def test_every_way_ends_at_its_value_and_random_ones_do_not():
    found = aimed(steered(), VALUES, MODES)
    for mode in ("manifold", "linear", "linear_subspace", "move"):
        assert found[mode].shape == (COUNT * BASE, 3) and found[mode][:, 1].min() == 1, mode
    away = found["random"][:, 0] > 0
    assert found["random"][away, 1].mean() < 0.1
    gaps = [gap_of(int(one), value) for value in range(COUNT) for one in steered().said]
    assert found["manifold"][:, 0].tolist() == gaps
    table = tables.success_table({"last token": found})
    assert table["gap"].tolist() == [0, 1, 2, 3] and table["manifold last token"].tolist() == [1.0] * 4
    assert int(table["prompts last token"].sum()) == COUNT * BASE


def test_named_values_lie_an_offset_before_the_answer():
    later = [Prompt(one.text, 0, one.answer, one.answer, 2) for one in steered().prompts]
    named = Steered(steered().answers, later, steered().base, steered().said, steered().manifold, named=True)
    assert named.wanted(6, VALUES).tolist() == [1] * BASE
    assert named.wanted(6, Concept(VALUES.values, cyclic=False)).tolist() == [-1] * BASE
    assert aimed(named, VALUES, ["manifold"])["manifold"][:, 1].max() == 0  # this ring has no offset


def test_ways_change_an_activation_as_they_say():
    base, manifold = steered().base, steered().manifold
    for mode, make in WAYS.items():
        several = make(manifold, (0, 2), 5)
        direct = several.edit(several.values[:, None])(base.expand(5, -1, -1)) - base
        assert torch.allclose(several.change(base), direct)
        assert direct.norm(dim=-1).min() > 0, mode
    along, elsewhere = (way(manifold, mode, (0, 2), 5).change(base) for mode in ("manifold", "random"))
    assert torch.allclose(along.norm(dim=-1), elsewhere.norm(dim=-1), rtol=1e-6)
    cosine = torch.cosine_similarity(along, elsewhere, dim=-1)
    assert cosine.abs().max() < 0.6
    outside = way(manifold, "move", (0, 2), 5).change(base)
    kept_off = manifold.nearest(base)[1]
    assert torch.allclose(manifold.nearest(base + outside[2])[1], kept_off, rtol=0.5)
    sizes = walked_pairs()[(0, 2), "manifold"].size
    every = way(manifold, "manifold", (0, 2), 50).change(base)
    assert torch.allclose(sizes, (every.norm(dim=-1) / base.norm(dim=-1)).mean(1))


def test_own_codes_change_nothing_and_own_places_little():
    found = own(steered().answers, steered().manifold, steered().base)
    assert found.code.max() < 1e-12 and 0 < found.curve.max() < 0.01
    assert torch.allclose(found.distance, steered().manifold.nearest(steered().base)[1])
    on_curve = ring().read(steered().manifold.decode(steered().manifold.encode(steered().base)))
    wanted = bhattacharyya(on_curve, ring().read(steered().base))
    assert torch.allclose(found.curve, wanted, atol=2e-4)


def test_pairs_are_all_or_drawn():
    assert pairs_of(VALUES, None, 0) == PAIRS
    some = pairs_of(VALUES, 5, 0)
    assert len(set(some)) == 5 and set(some) <= set(PAIRS) and some != pairs_of(VALUES, 5, 1)


def test_a_pair_has_its_ribbons_and_curves():
    shown = tables.ribbon_table(walked_pairs(), (0, 3), VALUES.values, MODES)
    shares = torch.stack([shown[name] for name in (*VALUES.values, "other")])
    assert torch.allclose(shares.sum(0), torch.ones(250).double(), atol=1e-6)
    last = {mode: shown["d"][49 + 50 * i] for i, mode in enumerate(MODES)}
    assert last["manifold"] > 0.8 > 0.3 > last["random"]
    drawn = tables.curve_table(fitted(), walked_pairs(), (0, 3), ["manifold", "linear", "move"])
    parts = set(zip(drawn["panel"], drawn["part"], strict=True))
    assert ("behaviour", "move") in parts and ("activations", "move") not in parts
    assert drawn["part"].count("point") == 2 * COUNT

"""Gap, recall and neighbour distance before and after keeping the shared atoms of planted data."""

from __future__ import annotations

import numpy as np
import planted
import pytest
import torch

from steerlab.numerics.gaps import (
    mean_difference_probe,
    modality_gap,
    neighbour_distance,
    probe_accuracy,
    recall,
    transport_gap,
)
from steerlab.numerics.modality import energy, modality_classes, modality_score, subtract_means
from steerlab.numerics.pursuit import matching_pursuit


def kept(pairs, mask):
    """Both groups rebuilt from the atoms of a mask, with codes by the transpose."""
    return tuple((x @ pairs.atoms.T * mask) @ pairs.atoms for x in pairs.x)


def test_construction_g_closes_the_gap_and_keeps_retrieval():
    pairs = planted.paired()
    z1, z2 = (x @ pairs.atoms.T for x in pairs.x)
    shift = z1.mean(0) - z2.mean(0)
    full, bimodal, unimodal = pairs.x, kept(pairs, pairs.shared), kept(pairs, ~pairs.shared)
    assert modality_gap(*full) == pytest.approx(2.894, abs=0.02)
    assert modality_gap(*full) == pytest.approx(float(shift.norm()), abs=1e-10)
    assert modality_gap(*bimodal) < 0.03
    assert modality_gap(*bimodal) == pytest.approx(float(shift[pairs.shared].norm()), abs=1e-10)
    assert recall(*full) >= 0.99
    assert recall(*bimodal) == 1
    assert recall(*unimodal) < 0.03  # chance is 1 / 256
    assert recall(*subtract_means(*full)) == 1


def test_the_modality_probe_falls_to_chance_on_held_out_samples():
    pairs = planted.paired(1024)
    for (a, b), expected, within in (
        (pairs.x, 1.0, 0.0),
        (kept(pairs, pairs.shared), 0.5, 0.05),
    ):
        probe = mean_difference_probe(a[:512], b[:512])
        assert probe_accuracy(probe, a[512:], second=b[512:]) == pytest.approx(expected, abs=within)


def test_the_probe_parts_groups_half_way_between_their_means():
    spread = torch.tensor([[-1.0, 0.0], [1.0, 5.0]])
    probe = mean_difference_probe(spread + torch.tensor([14.0, 0.0]), spread + torch.tensor([10.0, 0.0]))
    assert probe[0].tolist() == [4.0, 0.0] and probe[1] == 48.0
    assert probe_accuracy(probe, torch.tensor([[12.1, 9.0]]), second=torch.tensor([[11.9, 9.0]])) == 1
    assert probe_accuracy(probe, torch.tensor([[12.1, 0.0]]), second=torch.tensor([[12.1, 0.0]])) == 0.5


def test_a_split_dictionary_closes_the_gap_by_losing_everything():
    for cosine, gap in ((0.5, 0.80), (0.8, 0.51)):
        pairs = planted.split(cosine)
        shared = modality_classes(modality_score(energy(pairs.first), energy(pairs.second))).shared
        emptied = tuple((z * shared) @ pairs.atoms for z in (pairs.first, pairs.second))
        assert not emptied[0].any() and not emptied[1].any()
        assert modality_gap(*emptied) == 0 and recall(*emptied) == 0
        biases = torch.zeros(82)
        biases[80:] = 1
        unbiased = tuple((z * (1 - biases)) @ pairs.atoms for z in (pairs.first, pairs.second))
        assert modality_gap(*unbiased) == pytest.approx(gap, abs=0.05)
        assert recall(*unbiased) == 1


def test_what_the_dictionary_misses_is_worth_keeping():
    """Pursuit cut short: x less its private part retrieves at least as well as x rebuilt."""
    pairs = planted.crowded()
    a, b = pairs.x
    assert modality_gap(a, b) == pytest.approx(2.80, abs=0.2)
    for steps, rebuilt_at_most in ((4, 0.55), (6, 0.75), (10, 0.8), (30, 0.85)):
        z1, z2 = matching_pursuit(a, pairs.atoms, steps), matching_pursuit(b, pairs.atoms, steps)
        classes = modality_classes(modality_score(energy(z1), energy(z2)))
        assert 40 <= int(classes.shared.sum()) <= 47  # leaks make private atoms look shared
        rebuilt = tuple((z * classes.shared) @ pairs.atoms for z in (z1, z2))
        residual = tuple(x - (z * ~classes.shared) @ pairs.atoms for x, z in ((a, z1), (b, z2)))
        assert recall(*residual) >= recall(*rebuilt)
        assert recall(*residual) > 0.99 > 0.9 > recall(a, b)
        assert recall(z1 @ pairs.atoms, z2 @ pairs.atoms) < rebuilt_at_most
        assert modality_gap(*residual) < 0.3 and modality_gap(*rebuilt) < 0.2


def composed(coherence, amplitude):
    """Queries from the whole caption and from its shared part, the sources, and the gallery."""
    r = planted.leaky(coherence, amplitude)
    source, gallery = r.source @ r.atoms, r.gallery @ r.atoms
    return source + r.caption @ r.atoms, source + (r.caption * ~r.text) @ r.atoms, source, gallery


def found(queries, gallery):
    q, g = planted.unit_rows(queries), planted.unit_rows(gallery)
    return float(((q @ g.T).argmax(1) == torch.arange(len(q))).double().mean())


def test_leaky_text_atoms_spoil_the_naive_query_alone():
    naive, bimodal, source, gallery = composed(0.8, 3.0)
    assert found(naive, gallery) == pytest.approx(0.656, abs=0.1)
    assert found(bimodal, gallery) >= 0.99
    assert found(source, gallery) == pytest.approx(0.96, abs=0.03)
    real = float(neighbour_distance(gallery, k=10).mean())
    assert float(neighbour_distance(bimodal, gallery, k=10).mean()) == pytest.approx(real, abs=0.01)
    assert float(neighbour_distance(naive, gallery, k=10).mean()) > real + 0.17


def test_an_orthogonal_text_bias_moves_queries_away_without_changing_their_ranking():
    naive, bimodal, _, gallery = composed(0.0, 3.0)
    assert found(naive, gallery) == found(bimodal, gallery) == 1
    apart = neighbour_distance(naive, gallery, k=10) - neighbour_distance(bimodal, gallery, k=10)
    assert float(apart.mean()) > 0.2


def test_neighbour_distance_is_the_kth_of_all_distances():
    g = planted.generator(1)
    queries, gallery = planted.randn(7, 5, g=g), planted.randn(40, 5, g=g)
    q, x = queries.numpy(), gallery.numpy()
    cosines = q @ x.T / np.linalg.norm(q, axis=1)[:, None] / np.linalg.norm(x, axis=1)
    for k in (1, 5):
        expected = np.sort(1 - cosines, axis=1)[:, k - 1]
        np.testing.assert_allclose(neighbour_distance(queries, gallery, k=k).numpy(), expected, atol=1e-12)
    before = queries.clone()
    neighbour_distance(queries, gallery, k=3)
    assert torch.equal(queries, before)  # nothing is normalised in place


def test_a_point_is_not_its_own_neighbour():
    points = torch.eye(4, dtype=torch.float64)
    assert neighbour_distance(points, k=1).tolist() == [1.0] * 4
    assert neighbour_distance(points, points, k=1).tolist() == [0.0] * 4
    with pytest.raises(ValueError, match="the 4-th nearest of 3 points"):
        neighbour_distance(points, k=4)


def test_blocks_change_no_neighbour(monkeypatch):
    points = planted.randn(50, 6, g=planted.generator(2))
    whole = neighbour_distance(points, k=3)
    monkeypatch.setattr("steerlab.numerics.gaps.BLOCK", 7)
    torch.testing.assert_close(neighbour_distance(points, k=3), whole)


def test_recall_by_hand():
    # by cosine, row 0 finds itself, rows 1 and 2 find each other first and themselves second
    first = torch.tensor([[1.0, 0, 0], [0, 1.0, 0.2], [0, 0.2, 1.0]])
    second = torch.tensor([[1.0, 0, 0], [0, 0.2, 1.0], [0, 1.0, 0.2]])
    assert recall(first, second, k=1) == pytest.approx(1 / 3)
    assert recall(first, second, k=2) == 1
    assert recall(first, first) == 1
    # both rows find their partners, but the second column is nearer to the first row
    rows, columns = torch.tensor([[1.0, 0.0], [0.8, 0.6]]), torch.tensor([[1.0, 0.0], [1.0, 0.1]])
    assert recall(rows, columns) == 0.75
    # without any structure the partner is found by chance alone
    g = planted.generator(3)
    chance = recall(planted.randn(2560, 8, g=g), planted.randn(2560, 8, g=g), k=5, batch=64)
    assert chance == pytest.approx(5 / 64, abs=0.02)


def test_transport_gap_of_shuffled_and_turned_clouds():
    points = planted.unit_rows(planted.randn(30, 4, g=planted.generator(4)))
    shuffled = points[torch.randperm(30, generator=planted.generator(5))]
    assert transport_gap(points, shuffled) == pytest.approx(0, abs=1e-12)
    poles = torch.tensor([[1.0, 0.0]]).repeat(3, 1)
    assert transport_gap(poles, torch.tensor([[0.0, 1.0], [-1.0, 0.0], [1.0, 0.0]])) == pytest.approx(1.0)
    with pytest.raises(ValueError, match="subsample"):
        transport_gap(poles, points[:, :2])


@pytest.mark.parametrize("cosine", [0.0, 0.5, 0.9])
def test_a_merged_atom_costs_half_of_one_minus_the_cosine(cosine):
    phi = torch.tensor([1.0, 0.0], dtype=torch.float64)
    psi = torch.tensor([cosine, (1 - cosine**2) ** 0.5], dtype=torch.float64)
    merged = planted.unit_rows(phi + psi)
    for direction in (phi, psi):
        lost = (direction - (direction @ merged) * merged).square().sum()
        assert float(lost) == pytest.approx((1 - cosine) / 2, abs=1e-12)

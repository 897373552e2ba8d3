"""Coherence, ranks and distances of dictionaries against numpy and by construction."""

from __future__ import annotations

import numpy as np
import planted
import pytest
import torch

from steerlab.numerics.geometry import (
    coherence,
    connectivity,
    distance_from_data,
    effective_rank,
    negative_interference,
    stable_rank,
    unit,
)


@pytest.fixture
def atoms():
    return 3 * planted.randn(50, 12, g=planted.generator(0))


@pytest.mark.parametrize("block", [7, 1024])
def test_coherence_in_blocks_is_that_of_the_whole_matrix(atoms, monkeypatch, block):
    monkeypatch.setattr("steerlab.numerics.geometry.BLOCK", block)
    d = atoms.numpy() / np.linalg.norm(atoms.numpy(), axis=1)[:, None]
    cosines = d @ d.T - 9 * np.eye(50)
    assert coherence(atoms) == pytest.approx(cosines.max(), abs=1e-12)
    cosines = np.abs(d @ d.T) - 9 * np.eye(50)
    assert coherence(atoms, signed=False) == pytest.approx(cosines.max(), abs=1e-12)


def test_coherence_by_construction():
    frame = torch.eye(4)
    assert coherence(frame) == 0
    assert coherence(torch.cat([frame, -frame])) == 0
    assert coherence(torch.cat([frame, -frame]), signed=False) == 1
    assert coherence(torch.tensor([[2.0, 0.0], [3.0, 4.0]])) == pytest.approx(0.6)
    with pytest.raises(ValueError, match="the dictionary has 1"):
        coherence(frame[:1])


def test_ranks_of_frames_lines_and_a_known_spectrum():
    frame = planted.frame(6, 10, planted.generator(1))
    assert stable_rank(frame) == pytest.approx(6) and effective_rank(frame) == pytest.approx(6)
    line = torch.ones(5, 1) * torch.tensor([[1.0, 2.0, 2.0]])
    assert stable_rank(line) == pytest.approx(1) and effective_rank(line) == pytest.approx(1)
    spectrum = torch.tensor([2.0, 1.0, 1.0], dtype=torch.float64)
    p = np.array([0.5, 0.25, 0.25])
    assert stable_rank(spectrum.diag()) == pytest.approx(1.5)
    assert effective_rank(spectrum.diag()) == pytest.approx(np.exp(-(p * np.log(p)).sum()))


def test_atoms_on_data_are_at_distance_zero_and_opposite_ones_at_two(monkeypatch):
    monkeypatch.setattr("steerlab.numerics.geometry.BLOCK", 3)
    data = planted.randn(10, 6, g=planted.generator(2))
    torch.testing.assert_close(
        distance_from_data(5 * data[[9, 0, 4]], data), torch.zeros(3, dtype=torch.float64), atol=1e-12, rtol=0
    )
    axis = torch.tensor([[1.0, 0.0]])
    got = distance_from_data(torch.tensor([[-2.0, 0.0], [0.0, 1.0], [3.0, 4.0]]), axis)
    torch.testing.assert_close(got, torch.tensor([2.0, 1.0, 0.4], dtype=torch.float64))


def test_connectivity_counts_the_pairs_that_never_meet():
    codes = torch.tensor([[1.0, -1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 2.0]])
    # atoms 0 and 1 meet (their products cancel, but they do fire together), 2 is alone
    assert connectivity(codes) == pytest.approx(1 - 5 / 9)


def test_interference_is_what_opposed_atoms_that_fire_together_make():
    codes = torch.tensor([[1.0, 2.0, 0.0], [0.0, 0.0, 1.0]])
    atoms = torch.tensor([[1.0, 0.0], [-0.6, 0.8], [-1.0, 0.0]])
    # only the pair (0, 1) meets: product 2, cosine -.6, and the matrix holds it twice
    assert negative_interference(codes, atoms) == pytest.approx(1.2 * 2**0.5)
    assert negative_interference(codes, torch.eye(3)) == 0


def test_zero_rows_stay_zero():
    assert unit(torch.tensor([[0.0, 0.0], [3.0, 4.0]])).tolist() == [[0.0, 0.0], [0.6, 0.8]]

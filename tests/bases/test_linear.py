"""Linear bases against numpy in float64: coordinates, round trips, principal components."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import steerlab as sl

GENERATOR = torch.Generator().manual_seed(0)
X = torch.randn(4, 5, 8, generator=GENERATOR)
VECTORS = torch.randn(3, 8, generator=GENERATOR)
ORIGIN = torch.randn(8, generator=GENERATOR)


def float64(x: torch.Tensor) -> np.ndarray:
    return x.double().numpy()


@pytest.mark.parametrize("origin", [None, ORIGIN])
def test_coordinates_are_lengths_along_orthonormal_atoms_from_the_origin(origin):
    basis = sl.Subspace(VECTORS, origin)
    atoms = float64(basis.atoms)
    np.testing.assert_allclose(atoms @ atoms.T, np.eye(3), atol=1e-6)
    o = 0 if origin is None else float64(origin)
    np.testing.assert_allclose(float64(basis.encode(X)), (float64(X) - o) @ atoms.T, atol=1e-5)
    z = basis.encode(X)
    np.testing.assert_allclose(float64(basis.decode(z)), float64(z) @ atoms + o, atol=1e-5)
    torch.testing.assert_close(basis.encode(basis.decode(z)), z)


def test_atoms_span_what_the_vectors_span_in_their_order():
    basis = sl.Subspace(VECTORS)
    for rank in (1, 2, 3):
        q, _ = np.linalg.qr(float64(VECTORS[:rank]).T)
        atoms = float64(basis.atoms[:rank])
        np.testing.assert_allclose(atoms.T @ atoms, q @ q.T, atol=1e-6)
    assert float(basis[0] @ VECTORS[0]) > 0


def test_dependent_vectors_are_dropped():
    basis = sl.Subspace(torch.stack([VECTORS[0], 2 * VECTORS[0], VECTORS[1]]))
    assert len(basis) == 2 and basis.dim == 8
    q, _ = np.linalg.qr(float64(VECTORS[:2]).T)
    np.testing.assert_allclose(float64(basis.atoms).T @ float64(basis.atoms), q @ q.T, atol=1e-6)


def test_a_direction_has_one_coordinate_in_the_units_of_the_stream():
    basis = sl.Direction(3 * ORIGIN)
    assert len(basis) == 1 and repr(basis) == "Direction(rank=1, dim=8)"
    expected = float64(X) @ float64(ORIGIN) / np.linalg.norm(float64(ORIGIN))
    np.testing.assert_allclose(float64(basis.encode(X))[..., 0], expected, atol=1e-5)
    assert sl.Direction([1, 0, 0])[0].tolist() == [1, 0, 0]


def test_principal_components_are_those_of_the_covariance():
    pca = sl.PCA(X, 4)
    flat = float64(X).reshape(-1, 8)
    values, vectors = np.linalg.eigh(np.cov(flat, rowvar=False))
    np.testing.assert_allclose(float64(pca.origin), flat.mean(0), atol=1e-6)
    np.testing.assert_allclose(float64(pca.deviations), np.sqrt(values[::-1][:4]), rtol=1e-5)
    overlap = np.abs(np.sum(float64(pca.atoms) * vectors[:, ::-1].T[:4], axis=1))
    np.testing.assert_allclose(overlap, 1, atol=1e-5)
    z = float64(pca.encode(X)).reshape(-1, 4)
    np.testing.assert_allclose(z.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(z.std(0, ddof=1), float64(pca.deviations), rtol=1e-5)


def test_all_components_explain_everything():
    torch.testing.assert_close(sl.PCA(X, 8).decode(sl.PCA(X, 8).encode(X)), X, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_a_basis_follows_the_dtype_of_what_it_is_given(dtype):
    basis = sl.Subspace(VECTORS, ORIGIN)
    z = basis.encode(X.to(dtype))
    assert z.dtype == dtype and basis.decode(z).dtype == dtype
    assert sl.Subspace(VECTORS.to(dtype)).atoms.dtype == torch.float32


def test_a_basis_keeps_no_gradient_of_its_vectors_and_passes_that_of_the_stream():
    basis = sl.Subspace(VECTORS.clone().requires_grad_())
    assert not basis.atoms.requires_grad
    x = X.clone().requires_grad_()
    basis.encode(x).sum().backward()
    torch.testing.assert_close(x.grad, basis.atoms.sum(0).expand_as(X))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: sl.Subspace(ORIGIN), r"a subspace takes vectors \[rank, dim\], not \[8\]"),
        (lambda: sl.Subspace(torch.zeros(2, 8)), "Subspace: the vectors are zero, and span nothing"),
        (lambda: sl.Subspace(VECTORS, torch.ones(7)), r"origin has shape \[7\], the basis needs \[8\]"),
        (lambda: sl.Subspace(VECTORS / 0), "the vectors of a subspace: 24 of 24 entries are NaN or infinite"),
        (lambda: sl.PCA(X, 0), r"rank=0: samples \[4, 5, 8\] have at most 8 components"),
        (lambda: sl.PCA(X / 0, 2), "the samples: 160 of 160 entries are NaN or infinite"),
        (
            lambda: sl.Subspace(VECTORS).encode(X[..., :7]),
            r"the basis lives in 8 dimensions, the activation .* has 7",
        ),
        (lambda: sl.Subspace(VECTORS)[3], r"atom 3: this basis has 3 atoms \(0 to 2\)"),
    ],
)
def test_what_cannot_be_a_basis_is_refused(make, message):
    with pytest.raises(sl.SteerlabError, match=message):
        make()

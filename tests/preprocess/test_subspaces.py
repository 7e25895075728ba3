"""Principal components and discriminants against decompositions of the images themselves."""

import numpy as np
import pytest

from paper_repro.core.errors import UserError
from paper_repro.core.preprocess.subspaces import Moments, Subspace, discriminant, principal


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    labels = rng.integers(4, size=5_000)
    x = (
        rng.normal(size=(5_000, 12)) @ rng.normal(size=(12, 12))
        + 3 * rng.normal(size=(4, 12))[labels]
    )
    x[:, 5] = 1.5  # a pixel that is constant
    return x.reshape(5_000, 3, 4), labels


@pytest.fixture(scope="module")
def moments(data):
    return Moments.of(*data, 4)


def projector(subspace):
    return subspace.basis @ subspace.basis.T


def test_moments_are_those_of_the_images(data, moments):
    flat, labels = data[0].reshape(5_000, 12), data[1]
    np.testing.assert_allclose(moments.covariance, np.cov(flat.T, bias=True), atol=1e-10)
    centred = np.stack([flat[labels == c].mean(0) for c in range(4)])[labels] - flat.mean(0)
    np.testing.assert_allclose(moments.between, centred.T @ centred / 5_000, atol=1e-10)


@pytest.mark.parametrize("components", [1, 3, 11])
def test_principal_components_are_singular_vectors(components, data, moments):
    flat = data[0].reshape(5_000, 12)
    _, _, v = np.linalg.svd(flat - flat.mean(0), full_matrices=False)
    found = principal(moments, components)
    wanted = v[:components].T @ v[:components]
    np.testing.assert_allclose(projector(found), wanted, atol=1e-8)


def test_discriminants_are_those_of_a_whitened_problem(data, moments):
    """Where the within-class scatter is the identity they are principal components of the means."""
    within = moments.covariance - moments.between
    values, vectors = np.linalg.eigh(within)
    kept = vectors[:, values > 1e-9] / np.sqrt(values[values > 1e-9])
    _, rotations = np.linalg.eigh(kept.T @ moments.between @ kept)
    wanted, _ = np.linalg.qr(kept @ rotations[:, ::-1][:, :3])
    for components in (1, 3):
        found = discriminant(moments, components).basis
        part = wanted[:, :components]
        np.testing.assert_allclose(found @ found.T, part @ part.T, atol=1e-6)


def test_discriminants_come_first_and_variance_fills_up(moments):
    first, more = discriminant(moments, 3), discriminant(moments, 7)
    np.testing.assert_allclose(more.basis.T @ more.basis, np.eye(7), atol=1e-10)
    np.testing.assert_allclose(projector(more) @ first.basis, first.basis, atol=1e-10)
    rest = np.eye(12) - projector(first)
    values = np.linalg.eigvalsh(rest @ moments.covariance @ rest)[::-1][:4]
    added = np.trace((projector(more) - projector(first)) @ moments.covariance)
    assert added == pytest.approx(values.sum())


@pytest.mark.parametrize("make", [principal, discriminant])
def test_errors_fall_to_zero_and_are_those_of_the_images(make, data, moments):
    errors = [make(moments, k).expected_error(moments) for k in (1, 3, 8, 11)]
    assert errors == sorted(errors, reverse=True) and abs(errors[-1]) < 1e-9
    assert make(moments, 4).error(data[0]) == pytest.approx(
        make(moments, 4).expected_error(moments)
    )
    np.testing.assert_allclose(make(moments, 12).rebuilt(data[0][:5]), data[0][:5], atol=1e-8)
    whole = Subspace(moments.mean, np.eye(12))
    assert whole.error(data[0]) < 1e-20


def test_bad_input_is_refused(data, moments):
    for components in (0, 13):
        for make in (principal, discriminant):
            with pytest.raises(UserError, match=f"between 1 and 12, not {components}"):
                make(moments, components)
    with pytest.raises(UserError, match="no image of class 4"):
        Moments.of(*data, 5)

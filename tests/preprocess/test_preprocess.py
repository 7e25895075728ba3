"""Standardisation and regularised ZCA: definition, inverse, files, and the published vector."""

import dataclasses
import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small_table
from commands import command

from paper_repro.core.data import load_dataset
from paper_repro.core.errors import UserError
from paper_repro.core.preprocess import ZCA, Standard, fitted, load, save, storage
from paper_repro.core.preprocess.__main__ import main
from paper_repro.core.preprocess.transform import digest
from paper_repro.core.preprocess.vectors import SHIPPED, check_vector, make_vector, read_vectors

REGULARISATION = 0.1


def correlated_images(n=400, shape=(8, 8, 3), seed=0):
    """Smooth random images in 0..255 whose covariance has a wide spectrum."""
    rng = np.random.default_rng(seed)
    images = np.cumsum(np.cumsum(rng.standard_normal((n, *shape)), axis=1), axis=2)
    images = images @ (np.eye(shape[-1]) + 0.5)
    return np.clip(127 + 12 * images, 0, 255).round().astype(np.uint8)


@pytest.fixture(scope="module")
def images():
    return correlated_images()


@pytest.fixture(scope="module")
def standard(images):
    return Standard.fit(images)


@pytest.fixture(scope="module")
def zca(images):
    return ZCA.fit(images, REGULARISATION)


def layer_normalised(standard, images):
    """The definition, written again: centre each image, divide by its own norm."""
    s = ((images - standard.mean) / standard.std).reshape(len(images), -1)
    s = s - s.mean(1, keepdims=True)
    return s / np.linalg.norm(s, axis=1, keepdims=True)


def jax_eigh(matrix):
    with jax.enable_x64(True):
        eigenvalues, eigenvectors = jnp.linalg.eigh(jnp.asarray(matrix))
    assert eigenvalues.dtype == "float64"
    return eigenvalues, eigenvectors


# Standard


def test_standard_is_per_channel_mean_and_std(images, standard):
    x = images.astype(np.float64)
    np.testing.assert_allclose(standard.mean, x.mean((0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(standard.std, x.std((0, 1, 2)), rtol=1e-10)
    whitened = standard.apply(images, "float64")
    np.testing.assert_allclose(whitened, (x - standard.mean) / standard.std, rtol=0, atol=1e-12)
    np.testing.assert_allclose(whitened.mean((0, 1, 2)), 0, atol=1e-10)
    np.testing.assert_allclose(whitened.std((0, 1, 2)), 1, atol=1e-10)


def test_standard_inverts_up_to_rounding(images, standard):
    x = standard.apply(images, "float64")
    np.testing.assert_allclose(standard.invert(x), images, rtol=0, atol=1e-11)
    assert np.array_equal(standard.preview(x), images)
    assert np.array_equal(standard.preview(standard.apply(images)), images)  # float32 is enough
    assert np.array_equal(standard.preview(100 * np.sign(x)), 255 * (x > 0))  # clipped


def test_blocks_of_images_do_not_matter(images, standard, zca):
    many = np.concatenate([images] * 6)  # more than one block of 2,000
    for transform in (standard, zca):
        once = transform.apply(images, "float64")
        np.testing.assert_allclose(
            transform.apply(many, "float64"), np.concatenate([once] * 6), rtol=0, atol=1e-12
        )
    np.testing.assert_allclose(Standard.fit(many).std, standard.std, rtol=1e-12)
    again = ZCA.fit(many, REGULARISATION)
    np.testing.assert_allclose(again.eigenvalues, zca.eigenvalues, rtol=0, atol=1e-12)


def test_inputs_are_float32_unless_told(images, standard, zca):
    for transform in (standard, zca):
        x = transform.apply(images)
        assert x.dtype == np.float32
        assert x.shape == images.shape
        # Computed in float64, cast at the end.
        assert np.array_equal(x, transform.apply(images, "float64").astype(np.float32))


def test_a_constant_channel_cannot_be_standardised(images):
    flat = images.copy()
    flat[..., 1] = 9
    with pytest.raises(UserError, match="channel 1 is constant"):
        Standard.fit(flat)


# ZCA


def test_zca_is_its_definition(images, zca):
    x = layer_normalised(zca.standard, images)
    covariance = x.T @ x / len(x)
    ridge = REGULARISATION * np.trace(covariance) / len(covariance)
    s, u = np.linalg.eigh(covariance)
    expected = x @ (u * (np.maximum(s, 0) + ridge) ** -0.5) @ u.T
    np.testing.assert_allclose(
        zca.apply(images, "float64").reshape(len(x), -1), expected, rtol=0, atol=1e-9
    )
    assert zca.ridge == pytest.approx(ridge, rel=1e-12)


def test_the_whitened_training_covariance_is_s_over_s_plus_reg(images, zca):
    w = zca.apply(images, "float64").reshape(len(images), -1)
    covariance = zca.eigenvectors.T @ (w.T @ w / len(w)) @ zca.eigenvectors
    s = zca.eigenvalues
    assert s[-1] / s.mean() > 20  # otherwise there would be nothing to whiten
    np.testing.assert_allclose(covariance, np.diag(s / (s + zca.ridge)), rtol=0, atol=1e-8)


def test_the_inverse_is_the_layer_normalised_image(images, zca):
    other = correlated_images(20, seed=1)
    for raw in (images, other):
        found = zca.invert(zca.apply(raw, "float64")).reshape(len(raw), -1)
        expected = layer_normalised(zca.standard, raw)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)


def test_the_mean_norm_and_preview_are_in_units_of_the_training_set(images, zca):
    s = ((images - zca.standard.mean) / zca.standard.std).reshape(len(images), -1)
    norms = np.linalg.norm(s - s.mean(1, keepdims=True), axis=1)
    assert zca.mean_norm == pytest.approx(norms.mean(), rel=1e-12)
    shown = zca.preview(zca.apply(images, "float64"))
    assert shown.dtype == np.uint8
    x = layer_normalised(zca.standard, images).reshape(images.shape) * zca.mean_norm
    expected = np.clip(np.rint(x * zca.standard.std + zca.standard.mean), 0, 255)
    assert np.array_equal(shown, expected)


@pytest.mark.parametrize("channels", [1, 3])
def test_constant_images_become_exact_zeros(channels):
    transform = ZCA.fit(correlated_images(shape=(8, 8, channels)), REGULARISATION)
    standard = transform.standard
    levels = np.array([-2.0, 0.0, 1.3])[:, None, None, None]
    # Constant after standardisation; for one channel that is any constant raw image.
    constant = np.broadcast_to(standard.mean + levels * standard.std, (3, 8, 8, channels))
    photos = correlated_images(2, (8, 8, channels), seed=1)
    x = transform.apply(np.concatenate([constant, photos]), "float64")
    assert np.array_equal(x[:3], np.zeros((3, 8, 8, channels)))
    assert np.isfinite(x).all()
    assert np.abs(x[3:]).max() > 0.1
    if channels == 1:
        black = np.zeros((1, 8, 8, 1), np.uint8)
        assert np.array_equal(transform.apply(black), black)
    assert np.isfinite(transform.preview(x)).all()


def test_constant_images_in_the_training_set_are_survived(images):
    some = images.copy()
    some[5] = 0
    transform = ZCA.fit(some, REGULARISATION)
    assert np.isfinite(transform.apply(some)).all()


def test_the_eigendecomposition_of_jax_gives_the_same_transform(images, zca):
    other = ZCA.fit(images, REGULARISATION, eigh=jax_eigh)
    assert other.eigenvectors.dtype == np.float64
    np.testing.assert_allclose(
        other.apply(images, "float64"), zca.apply(images, "float64"), rtol=0, atol=1e-6
    )


@pytest.mark.parametrize("regularisation", [0, -0.1, np.nan, np.inf])
def test_a_regularisation_that_is_not_positive_is_refused(images, regularisation):
    with pytest.raises(UserError, match="must be positive"):
        ZCA.fit(images, regularisation)


# Unusable images


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_images_that_are_not_finite_are_named(images, standard, zca, bad):
    damaged = images.astype(np.float64)
    damaged[3, 2, 1, 0] = bad
    for use in (standard.apply, zca.apply, Standard.fit, ZCA.fit):
        with pytest.raises(UserError, match="image 3 has NaN or infinite pixels"):
            use(damaged)


def test_images_of_another_shape_are_refused(images, standard, zca):
    for transform in (standard, zca):
        with pytest.raises(UserError, match=r"fitted on images \(8, 8, 3\), got \(4, 8, 3\)"):
            transform.apply(images[:, :4])
        with pytest.raises(UserError, match="NHWC with four axes"):
            transform.apply(images[0])
        with pytest.raises(UserError, match="text: save numbers"):
            transform.apply(images.astype(str))


# Files


@pytest.fixture(params=["standard", "zca"])
def saved(request, tmp_path):
    transform = request.getfixturevalue(request.param)
    path = tmp_path / "new" / "transform.safetensors"
    save(transform, path)
    return transform, path


def test_a_saved_transform_is_the_same_to_the_bit(saved, images):
    transform, path = saved
    loaded = load(path)
    assert type(loaded) is type(transform)
    assert digest(loaded) == digest(transform)
    assert loaded.settings == transform.settings
    assert loaded.image_shape == transform.image_shape
    for name, tensor in transform.tensors.items():
        assert np.array_equal(loaded.tensors[name], tensor)
    assert np.array_equal(loaded.apply(images), transform.apply(images))
    assert [p.name for p in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("kept", [0, 7, 100, 0.5, -1])
def test_a_truncated_transform_is_refused_by_name(saved, kept):
    _, path = saved
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept) if isinstance(kept, float) else kept])
    with pytest.raises(UserError, match=r"transform\.safetensors.*restore"):
        load(path)


def test_any_flipped_byte_is_refused_by_name(saved):
    _, path = saved
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    # Everywhere: the header with the settings, the tensors, the low bits of an eigenvector.
    places = [*range(0, min(len(content), 1200), 9), *rng.integers(0, len(content), 100)]
    for place in places:
        damaged = bytearray(content)
        damaged[place] ^= 1
        path.write_bytes(damaged)
        with pytest.raises(UserError, match=r"transform\.safetensors"):
            load(path)


def test_files_that_are_no_transforms_are_refused_by_name(tmp_path):
    with pytest.raises(UserError, match=r"no transform at .*missing\.safetensors"):
        load(tmp_path / "missing.safetensors")
    (tmp_path / "text.safetensors").write_text("hello")
    with pytest.raises(UserError, match=r"text\.safetensors is not a readable transform"):
        load(tmp_path / "text.safetensors")


# The published vector


def test_images_too_large_to_whiten_are_refused_before_any_memory_is_taken():
    with pytest.raises(UserError, match="needs a 150528 x 150528 matrix"):
        ZCA.fit(np.arange(2 * 224 * 224 * 3, dtype=np.uint8).reshape(2, 224, 224, 3))


def test_a_cache_that_cannot_be_written_costs_the_next_fit_alone(monkeypatch, tmp_path, capsys):
    from paper_repro.core.data.own import write_own

    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (40, 4, 4, 3), np.uint8), np.arange(40) % 2
    data = write_own(tmp_path / "tiny.npz", images, labels)
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("KIP_CACHE_DIR", str(tmp_path / "file" / "cache"))
    found = fitted(data, "zca")
    assert "is not cached" in capsys.readouterr().err
    expected = ZCA.fit(data.x_train, 0.1)
    assert np.array_equal(found.apply(images), expected.apply(images))


def test_the_test_image_is_its_formula():
    image = storage.test_image((32, 32, 3))
    assert image.dtype == np.uint8
    assert image.shape == (1, 32, 32, 3)
    for r, c, ch in ((0, 0, 0), (31, 2, 1), (17, 30, 2)):
        assert image[0, r, c, ch] == (7 * r + 13 * c + 29 * ch + r * c) % 256


def test_a_vector_names_what_is_off(images, zca):
    vector = read_vectors()["cifar10"]
    assert len(vector["output"]) == len({tuple(c) for c in vector["coordinates"]}) == 32
    assert check_vector(vector, vector) == 0
    off = {**vector, "output": [*vector["output"][:-1], vector["output"][-1] + 1e-4]}
    with pytest.raises(UserError, match="output is off by"):
        check_vector(vector, off)
    with pytest.raises(UserError, match="regularisation"):
        check_vector(vector, {**vector, "regularisation": 0.2})
    with pytest.raises(UserError, match="mean_norm is off by nan"):
        check_vector(vector, {**vector, "mean_norm": float("nan")})


def test_damaged_vectors_are_refused_by_name(tmp_path):
    path = tmp_path / "vectors.json"
    path.write_text(SHIPPED.read_text()[:-9])
    with pytest.raises(UserError, match=r"vectors\.json"):
        read_vectors(path)


@pytest.fixture(scope="module")
def cifar10():
    return load_dataset("cifar10")


def test_the_shipped_vector_of_cifar10_holds(cifar10):
    found = make_vector(cifar10, fitted(cifar10, "zca"))
    assert check_vector(read_vectors()["cifar10"], found) <= 1e-6


def test_the_command_verifies_the_shipped_vector(cifar10):
    fitted(cifar10, "zca")
    words = [sys.executable, "-m", "paper_repro.core.preprocess"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "test vector holds" in done.stdout


def preprocess(*options):
    return command(main, *options)


def test_the_command_saves_a_transform_as_it_is_asked_to_be_fitted(tmp_path, monkeypatch):
    # Bits of a fit depend on the number of BLAS threads, and another process may have kept one.
    monkeypatch.setenv("KIP_CACHE_DIR", str(tmp_path / "cache"))
    place = small_table.write_data(tmp_path / "data")
    data = load_dataset("small", place)
    for options, expected in (
        ((), ZCA.fit(data.x_train, 0.1)),
        (("--n-train", 100, "--regularisation", 2.5), ZCA.fit(data.x_train[:100], 2.5)),
        (("--regularisation", 2.5), ZCA.fit(data.x_train, 2.5)),
    ):
        path = tmp_path / "new" / "zca.safetensors"
        done = preprocess("--dataset", "small", "--data-dir", place, *options, "--save", path)
        assert done.returncode == 0, done.stderr
        found = load(path)
        assert digest(found) == digest(expected)
        n = 100 if "--n-train" in options else 240
        assert f"ZCA of {n} training images, regularisation {found.regularisation:g}" in done.stdout
        assert digest(found) in done.stdout


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--n-train", 10], "add --save FILE"),
        (["--regularisation", 1], "add --save FILE"),
        (["--save", "a", "--write", "b"], "give either --write or --save, not both"),
        (["--save", "."], ". is a directory: name a file"),
        (["--save", "a", "--n-train", 241], "between 1 and 240, the training images of small"),
        (["--save", "a", "--n-train", 0], "not 0"),
        (["--save", "a", "--n-train", 9, "--regularisation", 0], "must be positive, not 0"),
    ],
)
def test_options_of_the_command_that_cannot_be_used(options, says, tmp_path, monkeypatch):
    place = small_table.write_data(tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    done = preprocess("--dataset", "small", "--data-dir", place, *options)
    assert (done.returncode, done.stdout) == (2, "")
    assert says in done.stderr and done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == [place]


def test_a_damaged_fit_in_the_cache_is_to_be_deleted(tmp_path, monkeypatch):
    monkeypatch.setenv("KIP_CACHE_DIR", str(tmp_path / "cache"))
    data = load_dataset("small", small_table.write_data(tmp_path / "data"))
    fitted(data, "zca")
    (path,) = (tmp_path / "cache" / "transforms").iterdir()
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(UserError, match=re.escape(f": delete {path} and run again")):
        fitted(data, "zca")
    path.unlink()
    fitted(data, "zca")


@pytest.mark.slow
def test_the_shipped_vector_holds_under_the_eigendecompositions_of_numpy_and_jax(cifar10):
    covariances = []

    def remember(covariance):
        covariances.append(covariance)
        return np.linalg.eigh(covariance)

    numpy_fit = ZCA.fit(cifar10.x_train, REGULARISATION, eigh=remember)
    eigenvalues, eigenvectors = (np.asarray(a) for a in jax_eigh(covariances[0]))
    jax_fit = dataclasses.replace(
        numpy_fit, eigenvalues=np.maximum(eigenvalues, 0), eigenvectors=eigenvectors
    )
    shipped = read_vectors()["cifar10"]
    for transform in (numpy_fit, jax_fit):
        assert check_vector(shipped, make_vector(cifar10, transform)) <= 1e-6

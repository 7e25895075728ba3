"""Other projects' preprocessing against NumPy, by name and in files; pixels on another scale."""

import json

import numpy as np
import pytest
import small_table

from paper_repro.core.data import load_dataset
from paper_repro.core.errors import UserError
from paper_repro.core.preprocess import fitted, from_file, load, save
from paper_repro.core.preprocess.recipe import PRESETS, preset
from paper_repro.core.preprocess.transform import digest


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    place = small_table.write_data(tmp_path_factory.mktemp("recipes") / "data")
    return load_dataset("small", place)


def flat(images, mean=0.0, std=1.0):
    return ((images / 255 - mean) / std).reshape(len(images), -1)


def whitened(x_train, x, centre, ridge, ddof=0):
    """The definition with an SVD instead of an eigendecomposition."""
    covariance = (x_train - centre).T @ (x_train - centre) / (len(x_train) - ddof)
    u, s, _ = np.linalg.svd(covariance)
    s += ridge(s)
    return (x - centre) @ (u / np.sqrt(s)) @ u.T


def expected(name, data, x):
    """What each project's code computes, written from its description."""
    train = data.x_train
    if name == "zca-mtt":
        t = flat(train)
        return whitened(t, flat(x), t.mean(0), lambda s: 0.1, ddof=1)
    mean, std = (train / 255).mean((0, 1, 2)), (train / 255).std((0, 1, 2))
    t, x = flat(train, mean, std), flat(x, mean, std)
    centre = t.mean(0) if name == "zca-frepo" else 0.0
    return whitened(t, x, centre, lambda s: 0.1 * s.mean())


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_what_their_projects_compute(data, name, tmp_path):
    transform = fitted(data, name)
    x = transform.apply(data.x_test[:7], "float64")
    wanted = expected(name, data, data.x_test[:7])
    np.testing.assert_allclose(x.reshape(7, -1), wanted, rtol=0, atol=1e-10)
    np.testing.assert_allclose(transform.invert(x), data.x_test[:7], rtol=0, atol=1e-7)
    assert np.array_equal(transform.preview(x), data.x_test[:7])
    save(transform, tmp_path / "kept.safetensors")
    kept = load(tmp_path / "kept.safetensors")
    assert digest(kept) == digest(transform) and kept.source == transform.source
    assert fitted(data, name).apply(data.x_test[:7]).tobytes() == x.astype("f4").tobytes()


def test_each_preset_is_another_map_and_names_its_source(data):
    images = [fitted(data, name).apply(data.x_test[:2]) for name in ("zca", *PRESETS)]
    for i, one in enumerate(images):
        for other in images[:i]:
            assert np.abs(one - other).max() > 0.05
    assert all("arXiv" in preset(name, "cifar10").source for name in PRESETS)
    assert preset("zca-rfad", "svhn").unit_norm and not preset("zca-rfad", "cifar10").unit_norm
    assert preset("zca-frepo", "cifar10").std == (0.2470, 0.2435, 0.2616)


RECIPE = {
    "name": "theirs",
    "source": "a paper",
    "pixel_range": 1,
    "mean": [0.5, 0.4, 0.3],
    "std": [0.2, 0.25, 0.3],
    "unit_norm": True,
    "whitening": {"centred": True, "regularisation": 0.3, "relative": True},
}


def written(tmp_path, **changes):
    path = tmp_path / "theirs.json"
    path.write_text(json.dumps({**RECIPE, **changes}))
    return path


def test_a_recipe_in_a_file(data, tmp_path):
    def unit(images):
        x = flat(images, np.array(RECIPE["mean"]), np.array(RECIPE["std"]))
        x = x - x.mean(1, keepdims=True)
        return x / np.linalg.norm(x, axis=1, keepdims=True)

    transform = from_file(written(tmp_path), data)
    t, x = unit(data.x_train), unit(data.x_test)
    wanted = whitened(t, x, t.mean(0), lambda s: 0.3 * s.mean())
    found = transform.apply(data.x_test, "float64")
    np.testing.assert_allclose(found.reshape(len(x), -1), wanted, rtol=0, atol=1e-10)
    np.testing.assert_allclose(transform.invert(found).reshape(len(x), -1), x, rtol=0, atol=1e-9)
    only_constants = from_file(written(tmp_path, unit_norm=False, whitening=None), data)
    assert set(only_constants.tensors) == {"mean", "std"} and only_constants.name == "theirs"
    np.testing.assert_allclose(only_constants.standard.std, [51, 63.75, 76.5], rtol=1e-14)
    no_constants = {"mean": None, "std": None, "pixel_range": 255}
    plain = from_file(written(tmp_path, unit_norm=False, whitening=None, **no_constants), data)
    np.testing.assert_array_equal(plain.apply(data.x_test, "float64"), data.x_test)
    for transform in (only_constants, plain):
        assert np.array_equal(transform.preview(transform.apply(data.x_test)), data.x_test)
        save(transform, tmp_path / "kept.safetensors")
        assert digest(load(tmp_path / "kept.safetensors")) == digest(transform)


@pytest.mark.parametrize("axes", ["HWC", "CHW"])
def test_a_map_that_somebody_fitted(data, tmp_path, axes):
    """As torch flattens images: channels first."""
    rng = np.random.default_rng(0)
    mean, matrix = rng.normal(size=(1, 192)), np.eye(192) + 0.05 * rng.normal(size=(192, 192))
    np.savez(tmp_path / "map.npz", mean=mean, matrix=matrix.astype(">f8"))
    whitening = {"file": "map.npz", "axes": axes}
    path = written(tmp_path, mean=None, std=None, unit_norm=False, whitening=whitening)
    transform = from_file(path, data)
    images = data.x_test[:5] / 255
    if axes == "CHW":
        images = images.transpose(0, 3, 1, 2)
    wanted = ((images.reshape(5, -1) - mean) @ matrix).reshape(images.shape)
    if axes == "CHW":
        wanted = wanted.transpose(0, 2, 3, 1)
    found = transform.apply(data.x_test[:5], "float64")
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-11)
    assert np.array_equal(transform.preview(found), data.x_test[:5])
    np.savez(tmp_path / "map.npz", mean=np.zeros(192), matrix=np.zeros((192, 192)))
    singular = from_file(path, data)
    assert np.array_equal(singular.preview(found), np.zeros((5, 8, 8, 3)))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"name": "../up"}, "the name '../up' must be of a-z"),
        ({"source": 3}, "source must be a printable text, not 3"),
        ({"pixel_range": 2}, "pixel_range must be 1 or 255"),
        ({"mean": "theirs"}, 'mean must be a list of numbers, one per channel, or "fitted"'),
        ({"std": [0.2, 0, 0.2]}, "std must be positive"),
        ({"std": [0.2, 0.2]}, "2 constants for images of 3 channels"),
        ({"unit_norm": "no"}, "unit_norm must be true or false"),
        ({"whitening": "zca"}, "whitening must be a JSON object"),
        ({"whitening": {"centred": True, "relative": True}}, "lacks whitening.regularisation"),
        ({"whitening": {"file": "none.npz"}}, "no map at"),
        ({"whitening": {"file": "map.npz", "axes": "WHC"}}, "axes must be HWC or CHW"),
        ({"whitening": {"file": "map.npz"}}, "mean (3,) and matrix (3, 3) do not fit"),
        ({"colour": 1}, "unknown key colour"),
    ],
)
def test_recipes_that_are_wrong_are_refused_by_key(data, tmp_path, changes, says):
    np.savez(tmp_path / "map.npz", mean=np.zeros(3), matrix=np.eye(3))
    with pytest.raises(UserError) as refused:
        from_file(written(tmp_path, **changes), data)
    assert says in str(refused.value)


def test_constants_need_their_scale(data, tmp_path):
    path = tmp_path / "theirs.json"
    path.write_text(json.dumps({k: v for k, v in RECIPE.items() if k != "pixel_range"}))
    with pytest.raises(UserError, match="say whether mean and std are of pixels in"):
        from_file(path, data)
    for content in ("{", "[]", "\xff"):
        path.write_text(content, encoding="latin-1")
        with pytest.raises(UserError, match=r"theirs\.json"):
            from_file(path, data)


SCALES = {
    "multiply them by 255": lambda x, rng: x / 255,
    "multiply them by 255 (1.02)": lambda x, rng: x / 255 * 1.02,
    "multiply them by 255 (overshoot)": lambda x, rng: x / 255 + 0.5 * rng.normal(size=x.shape),
    "pass 127.5 * (images + 1)": lambda x, rng: x / 127.5 - 1,
    "they look standardised already": lambda x, rng: (x - 125.0) / 71,
    "multiply them by 1/257": lambda x, rng: x.astype(np.uint16) * 257,
    "multiply them by 255 (bits)": lambda x, rng: x > 127,
}


@pytest.mark.parametrize("case", SCALES)
@pytest.mark.parametrize("name", ["standard", "zca", "zca-mtt"])
def test_pixels_on_another_scale_are_refused_with_the_factor(data, case, name):
    transform, rng = fitted(data, name), np.random.default_rng(0)
    images = SCALES[case](data.x_test[:20], rng)
    advice = case.split(" (")[0] if "overshoot" in case or "1.02" in case else case
    advice = "multiply them by 255" if "bits" in case else advice
    with pytest.raises(UserError, match="not pixels from 0 to 255") as refused:
        transform.apply(images)
    assert str(refused.value).split("0 to 255: ")[1].startswith(advice)


def test_dark_pale_and_constant_pixels_pass(data):
    transform = fitted(data, "zca")
    for images in (data.x_test[:3] // 8, data.x_test[:3] / 8.0 + 200, np.full((2, 8, 8, 3), 0.5)):
        assert np.isfinite(transform.apply(images)).all()


EXACT = ("f2", "f4", "f8", ">f2", ">f4", ">f8", "g", "u2", ">u2", "u8", "i8", ">i4", "i2")


def test_every_dtype_that_holds_the_pixels_gives_the_same_bits(data):
    import ml_dtypes

    transform, images = fitted(data, "standard"), data.x_test[:3]
    wanted = transform.apply(images).tobytes()
    for dtype in EXACT:
        assert transform.apply(images.astype(dtype)).tobytes() == wanted, dtype
    assert transform.apply(images.tolist()).tobytes() == wanted
    assert transform.apply(images.astype(ml_dtypes.bfloat16)).tobytes() == wanted
    refused = {
        "complex64": images.astype("c8"),
        "|V2": images.astype(ml_dtypes.bfloat16).view("V2"),
        "<U3": images.astype("U3"),
        "object": images.astype(object),
        "float128": np.full((1, 8, 8, 3), np.longdouble(100) + np.longdouble(2) ** -50),
        "uint64": np.full((1, 8, 8, 3), 2**60, "u8"),
    }
    for dtype, array in refused.items():
        with pytest.raises(UserError) as message:
            transform.apply(array)
        assert dtype in str(message.value) and "save" in str(message.value)
    with pytest.raises(UserError, match="the images are no array"):
        transform.apply([[1, 2], [3]])

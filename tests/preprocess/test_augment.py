"""Augmentation against NumPy shifts and SciPy's affine maps."""

import numpy as np
import pytest
import scipy.ndimage

from paper_repro.core.errors import UserError
from paper_repro.core.preprocess.augment import Augmentation
from paper_repro.core.preprocess.compiled import warp

# float32 sampling on a scale of 0..255: a coordinate near 32 is known to 4e-6 pixels.
SAMPLING = 0.01


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (40, 12, 15, 3)).astype(np.uint8)


def seeded(seed=0):
    return np.random.default_rng(seed)


def warped(images, angle=0.0, down=0.0, right=0.0, mirror=1.0):
    """`warp` with one map for all images."""
    n = len(images)
    values = (np.cos(angle), np.sin(angle), down, right, mirror)
    out = np.empty(images.shape, np.float32)
    warp(images, np.ones(n, bool), *(np.full(n, v, np.float32) for v in values), out)
    return out


def test_zero_ranges_change_nothing(images):
    nothing = Augmentation(rotation=0, shift=0, flip=False)
    found = nothing.apply(images, seeded())
    assert found.dtype == np.float32
    assert np.array_equal(found, images)
    found = Augmentation(fraction=0).apply(images, seeded())
    assert np.array_equal(found, images)


def test_a_pure_flip_reverses_columns_of_about_half_of_the_images(images):
    found = Augmentation(rotation=0, shift=0, flip=True).apply(images, seeded())
    mirrored = [np.array_equal(f, x[:, ::-1]) for f, x in zip(found, images, strict=True)]
    same = [np.array_equal(f, x) for f, x in zip(found, images, strict=True)]
    assert all(m != s for m, s in zip(mirrored, same, strict=True))
    assert 8 <= sum(mirrored) <= 32  # four standard deviations around 20


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_only_rgb_is_flipped(channels):
    images = seeded().integers(0, 256, (40, 6, 6, channels)).astype(np.uint8)
    found = Augmentation(rotation=0, shift=0, flip=True).apply(images, seeded(1))
    assert np.array_equal(found, images) == (channels != 3)


@pytest.mark.parametrize("down", [-3, 0, 2])
@pytest.mark.parametrize("right", [-4, 0, 1])
def test_whole_pixel_shifts_roll_with_the_edge_repeated(images, down, right):
    pad = 5
    padded = np.pad(images, ((0, 0), (pad, pad), (pad, pad), (0, 0)), mode="edge")
    rolled = np.roll(padded, (-down, -right), axis=(1, 2))[:, pad:-pad, pad:-pad]
    assert np.array_equal(warped(images, down=down, right=right), rolled)


@pytest.mark.parametrize("mirror", [1.0, -1.0])
@pytest.mark.parametrize("degrees", [-37.0, 5.0, 90.0, 180.0])
@pytest.mark.parametrize("shift", [(0.0, 0.0), (1.7, -2.3)])
def test_maps_equal_the_affine_transform_of_scipy(images, degrees, shift, mirror):
    angle = np.deg2rad(degrees)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    middle = (np.array(images.shape[1:3]) - 1) / 2
    matrix = rotation @ np.diag([1.0, mirror])
    offset = middle + rotation @ shift - matrix @ middle
    found = warped(images[:5], angle, *shift, mirror)
    for image, result in zip(images[:5], found, strict=True):
        for channel in range(3):
            expected = scipy.ndimage.affine_transform(
                image[..., channel].astype(np.float64), matrix, offset, order=1, mode="nearest"
            )
            np.testing.assert_allclose(result[..., channel], expected, rtol=0, atol=SAMPLING)


@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.5, 0.99, 1.0])
def test_exactly_the_fraction_of_the_images_changes(images, fraction):
    found = Augmentation(flip=False, fraction=fraction).apply(images, seeded())
    changed = np.any(found != images, axis=(1, 2, 3))
    assert changed.sum() == round(fraction * len(images))


def test_ranges_are_those_of_the_settings():
    # A ramp shows its own shift: pixel (r, c) has the value r, then c, away from the border.
    n, side = 200, 21
    rows, columns = np.meshgrid(np.arange(side), np.arange(side), indexing="ij")
    middle = (side - 1) // 2
    ramp = np.broadcast_to(np.stack([rows, columns], -1), (n, side, side, 2)).astype(np.uint8)
    moved = Augmentation(rotation=0, shift=0.2, flip=False).apply(ramp, seeded())
    shifts = moved[:, middle, middle] - middle
    assert np.abs(shifts).max() <= 0.2 * side + 1e-4
    assert np.all(shifts.max(0) > 0.19 * side) and np.all(shifts.min(0) < -0.19 * side)
    assert abs(np.corrcoef(shifts.T)[0, 1]) < 5 / n**0.5
    turned = Augmentation(rotation=30, shift=0, flip=False).apply(ramp, seeded())
    step = turned[:, middle, middle + 3] - turned[:, middle, middle - 3]
    degrees = np.rad2deg(np.arctan2(step[:, 0], step[:, 1]))
    assert np.abs(degrees).max() <= 30 + 1e-3
    assert degrees.max() > 29 and degrees.min() < -29


def test_the_same_generator_gives_the_same_bits(images):
    settings = Augmentation(fraction=0.7)
    first, again, other = (settings.apply(images, seeded(s)) for s in (3, 3, 4))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_values_stay_between_those_of_the_image(images, dtype):
    images = images.astype(dtype)
    images[0] = 255
    before = images.copy()
    found = Augmentation(rotation=180, shift=0.5).apply(images, seeded())
    assert np.array_equal(images, before)
    # Weights add up to one within float32 rounding.
    axes = (1, 2)
    assert np.all(found.min(axes) >= images.min(axes) - 1e-3)
    assert np.all(found.max(axes) <= images.max(axes) + 1e-3)


def test_views_give_the_bits_of_their_copies(images):
    for view in (images[:, ::-1], images[::2, :, 2:], np.broadcast_to(images[:1], images.shape)):
        found = Augmentation().apply(view, seeded())
        assert np.array_equal(found, Augmentation().apply(view.copy(), seeded()))


@pytest.mark.parametrize(
    "bad",
    [
        {"fraction": 1.1},
        {"fraction": -0.1},
        {"shift": 1.0},
        {"shift": -0.1},
        {"rotation": -1},
        {"rotation": 181},
        {"rotation": np.nan},
    ],
)
def test_impossible_settings_are_refused(bad):
    with pytest.raises(UserError, match="augmentation needs"):
        Augmentation(**bad)

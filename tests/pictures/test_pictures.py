import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from paper_repro.core import pictures
from paper_repro.core.pictures.images import displayable

NAMES = "airplane automobile bird cat deer dog frog horse ship truck".split()


def noise(n=10, side=32, channels=3):
    return np.random.default_rng(0).integers(0, 256, (n, side, side, channels), dtype=np.uint8)


def read(path):
    return np.asarray(Image.open(path).convert("RGB"))


def tiles(picture, image):
    """Where `image`, enlarged threefold, stands in the picture, as (row, column)."""
    large = displayable(image[None])[0].repeat(3, axis=0).repeat(3, axis=1)
    height, width = large.shape[:2]
    corner = np.argwhere((picture[: 1 - height, : 1 - width] == large[0, 0]).all(-1))
    return [
        (r, c)
        for r, c in corner.tolist()
        if (picture[r : r + height, c : c + width] == large).all()
    ]


@pytest.mark.parametrize(("side", "channels"), [(32, 3), (28, 1)])
def test_every_image_pixel_is_a_square_of_its_own_colour(tmp_path, side, channels):
    images = noise(12, side, channels)
    picture = read(pictures.image_grid(images, tmp_path / "g.png", captions=["x"] * 12, title="T"))
    places = [tiles(picture, image) for image in images]
    assert all(len(place) == 1 for place in places)
    rows = [place[0][0] for place in places]
    assert len(set(rows[:10])) == 1
    assert rows[10] == rows[11] > rows[0]


def test_a_class_is_a_column(tmp_path):
    images, labels = noise(6), np.array([1, 0, 1, 0, 1, 7])
    path = pictures.image_grid(images, tmp_path / "g.png", labels=labels, class_names=NAMES)
    (r0, c0), (r1, c1), (r2, c2), _, (r4, c4), (r5, c5) = (
        tiles(read(path), image)[0] for image in images
    )
    assert c0 == c2 == c4 != c1
    assert c1 < c0 < c5
    assert r0 == r1 == r5 < r2 < r4


def test_learned_stands_below_natural(tmp_path):
    before, after = noise(3), 255 - noise(3)
    picture = read(pictures.before_after(before, after, tmp_path / "p.png", captions=NAMES[:3]))
    for one, other in zip(before, after, strict=True):
        (r0, c0), (r1, c1) = tiles(picture, one)[0], tiles(picture, other)[0]
        assert (c0 == c1) and r0 < r1


def test_many_images_are_cut_and_counted(tmp_path):
    path = pictures.image_grid(noise(500, 8, 1), tmp_path / "g.png", labels=np.arange(500) % 10)
    assert read(path).shape[0] > 1000


def test_floats_are_clipped():
    values = np.array([-1.0, 0.0, 0.5, 3.0]).reshape(1, 2, 2, 1)
    assert displayable(values)[0, ..., 0].ravel().tolist() == [0, 0, 128, 255]


@settings(max_examples=25)
@given(st.integers(1, 3), st.integers(1, 6), st.sampled_from([1, 3]), st.booleans())
def test_displayable_is_uint8_rgb_and_keeps_uint8(n, side, channels, as_float):
    images = noise(n, side, channels)
    shown = displayable(images / 255 if as_float else images)
    assert shown.dtype == np.uint8
    assert (shown == np.broadcast_to(images, (n, side, side, 3))).all()


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((2, 3)),
        np.zeros((1, 4, 4, 2)),
        np.full((1, 4, 4, 3), np.nan),
        np.zeros((0, 4, 4, 3)),
    ],
)
def test_what_is_no_image_is_refused(tmp_path, images):
    with pytest.raises(ValueError):
        pictures.image_grid(images, tmp_path / "g.png")
    assert not (tmp_path / "g.png").exists()


def test_counts_that_do_not_fit_are_refused(tmp_path):
    with pytest.raises(ValueError, match="captions"):
        pictures.image_grid(noise(2), tmp_path / "g.png", captions=["a"])
    with pytest.raises(ValueError, match="pair"):
        pictures.before_after(noise(2), noise(3), tmp_path / "g.png")
    with pytest.raises(ValueError, match="classes"):
        pictures.label_heatmap(np.zeros((3, 10)), NAMES[:9], tmp_path / "g.png")
    with pytest.raises(ValueError, match="NaN"):
        pictures.label_heatmap(np.full((3, 10), np.nan), NAMES, tmp_path / "g.png")


def test_label_colours_are_symmetric_about_white_zero(tmp_path):
    labels = np.zeros((3, 12))
    labels[0, 0], labels[2, 11] = 1.0, -0.5
    picture = read(pictures.label_heatmap(labels, [str(i) for i in range(12)], tmp_path / "h.png"))
    colours, counts = np.unique(picture.reshape(-1, 3), axis=0, return_counts=True)
    middle = colours[counts.argsort()[-2]]  # after the white of the paper
    assert middle.min() > 240
    assert (103, 0, 31) in {tuple(c) for c in colours.tolist()}  # the far end of RdBu_r


@pytest.mark.parametrize("n_classes", [10, 100])
def test_label_maps_of_every_size_are_drawn(tmp_path, n_classes):
    labels = np.random.default_rng(0).normal(size=(n_classes, n_classes)) * 80
    names = [f"a class called {i}" for i in range(n_classes)]
    path = pictures.label_heatmap(labels, names, tmp_path / "h.png", title="Learned $labels$")
    assert path.stat().st_size < 300_000


def test_curves_are_deterministic_and_end_where_a_run_diverged(tmp_path):
    steps = [0, 1, 2, 4, 100, 10_000]
    series = {
        "plain": [(s, 25 + s / 1000) for s in steps],
        "_diverged $x": [(s, 25.0 if s < 5 else float("nan")) for s in steps],
    }
    how = {"xlabel": "step", "ylabel": "%"}
    one = pictures.curves(series, tmp_path / "a.png", **how)
    two = pictures.curves(series, tmp_path / "b.png", **how)
    assert one.read_bytes() == two.read_bytes()
    assert one.stat().st_size < 60_000
    assert b"tEXt" not in one.read_bytes()
    picture = read(one)
    assert (picture[[0, -1]] == 255).all()
    assert (picture[:, [0, -1]] == 255).all()


def test_curves_without_a_number_are_refused(tmp_path):
    with pytest.raises(ValueError, match="no finite value"):
        pictures.curves({"x": [(1, float("nan"))]}, tmp_path / "c.png", xlabel="", ylabel="")


def test_pictures_leave_pyplot_and_its_settings_alone(tmp_path):
    import matplotlib

    before = dict(matplotlib.rcParams)
    pictures.image_grid(noise(1), tmp_path / "g.png")
    pictures.curves({"x": [(1, 1)]}, tmp_path / "c.png", xlabel="s", ylabel="v")
    assert dict(matplotlib.rcParams) == before

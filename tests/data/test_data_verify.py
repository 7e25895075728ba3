"""Official bytes or nothing: digests, label counts and the Hub's block order."""

import itertools

import numpy as np
import pytest
from tiny_data import make_arrays, make_spec, permuted

from paper_repro.core.data import load_dataset
from paper_repro.core.data.arrays import KEYS
from paper_repro.core.data.registry import DATASETS
from paper_repro.core.data.verify import official_order, permute_blocks, verify
from paper_repro.core.errors import UserError


def test_every_order_of_five_blocks_is_put_back():
    arrays = make_arrays()
    spec = make_spec(arrays)
    for order in itertools.permutations(range(5)):
        result, digests = verify(spec, permuted(arrays, order), "set")
        assert digests == spec.sha256
        assert all(np.array_equal(result[key], arrays[key]) for key in KEYS)


def test_labels_that_did_not_move_with_their_blocks_are_refused():
    arrays = make_arrays()
    mixed = {**permuted(arrays, (3, 0, 1, 2, 4)), "y_train": arrays["y_train"]}
    with pytest.raises(UserError, match="set is not the official Tiny: SHA-256 of y_train is"):
        verify(make_spec(arrays), mixed, "set")


def test_rows_shuffled_across_blocks_are_refused():
    arrays = make_arrays()
    order = np.random.default_rng(1).permutation(50)
    shuffled = {**arrays, "x_train": arrays["x_train"][order], "y_train": arrays["y_train"][order]}
    with pytest.raises(UserError, match=r"SHA-256 of x_train is .* expected"):
        verify(make_spec(arrays), shuffled, "set")


def test_one_changed_pixel_is_refused():
    arrays = make_arrays()
    spec = make_spec(arrays)
    arrays["x_test"][7, 3, 2, 1] ^= 1
    with pytest.raises(UserError, match=f"expected {spec.sha256['x_test']}"):
        verify(spec, arrays, "set")


def test_shapes_and_labels_are_checked_before_digests():
    arrays = make_arrays()
    spec = make_spec(arrays)
    with pytest.raises(UserError, match=r"x_train has shape \(50, 6, 5, 3\), expected \(49, "):
        verify(make_spec(arrays, n_train=49), arrays, "set")
    with pytest.raises(UserError, match="y_test holds the label 9, Tiny has 4 classes"):
        verify(spec, {**arrays, "y_test": np.full(20, 9)}, "set")


def test_without_digests_the_class_counts_decide():
    arrays = make_arrays()
    counts = {key: tuple(np.bincount(arrays[key]).tolist()) for key in ("y_train", "y_test")}
    spec = make_spec(arrays, sha256=None, class_counts=counts, block_sha256=())
    assert set(verify(spec, arrays, "set")[1]) == set(KEYS)
    other = arrays["y_test"].copy()
    other[0] = (other[0] + 1) % 4
    with pytest.raises(UserError, match=r"y_test has .* images a class, expected"):
        verify(spec, {**arrays, "y_test": other}, "set")


def test_the_registry_is_consistent():
    for name, spec in DATASETS.items():
        assert spec.name == name
        assert len(set(spec.class_names)) == len(spec.class_names) in (10, 100)
        assert (spec.sha256 is None) == (name == "svhn")
        if spec.class_counts:
            assert sum(spec.class_counts["y_train"]) == spec.n_train
            assert sum(spec.class_counts["y_test"]) == spec.n_test


def test_real_cifar10_blocks_in_the_hubs_order_are_put_back():
    try:
        dataset = load_dataset("cifar10")
    except UserError as error:
        pytest.skip(str(error))
    spec = DATASETS["cifar10"]
    order = (3, 0, 4, 2, 1)  # starts with data_batch_4
    arrays = permuted({key: getattr(dataset, key) for key in KEYS}, order)
    assert official_order(arrays["x_train"], spec.block_sha256) == [1, 4, 3, 0, 2]
    result, digests = verify(spec, arrays, "Hub")
    assert digests == spec.sha256
    assert np.array_equal(result["y_train"], dataset.y_train)
    assert np.array_equal(permute_blocks(arrays["x_train"], [1, 4, 3, 0, 2]), dataset.x_train)

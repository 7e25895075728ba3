"""A valid result row to start from."""

from paper_repro.core.store.rows import config_hash


def make_row(**changes):
    config = changes.pop("config", {"learning_rate": 0.04, "steps": 3})
    row = {
        "table": "table_cheap_kernels",
        "dataset": "CIFAR-10",
        "images_per_class": 1,
        "method": "KIP",
        "algorithm": "KRR",
        "architecture": "FC1",
        "kernel": "ntk",
        "zca": False,
        "learned_labels": False,
        "augmentation": False,
        "preset": "laptop",
        "seed": 0,
        "step": 300,
        "test_accuracy": 0.393,
        "test_mse": 0.04,
        "n_test": 10_000,
        "status": "done",
        "seconds": 12.5,
        "peak_mb": 900.0,
        "budget": {"steps": 300, "target_batch": 5000, "n_train": 45_000},
        "config": config,
        "config_hash": config_hash(config),
        "versions": {"python": "3.11.7"},
        "hardware": {"cpu": "x"},
        "git": {"revision": "0" * 40, "dirty": False},
        "data_sha256": "ab" * 32,
        "transform_sha256": None,
        "started": "2025-01-01T00:00:00+00:00",
    }
    return row | changes

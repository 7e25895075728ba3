"""A data set of a moment under a name that Table 1 knows: the small sample of SVHN."""

from pathlib import Path

import numpy as np

CLASSES = 10


def write_sample(directory: Path) -> Path:
    """`svhn_mini.npz`: ten classes of noisy 8x8 images, 200 to train and 60 to test."""
    directory.mkdir()
    rng = np.random.default_rng(0)
    patterns = rng.uniform(60, 196, (CLASSES, 8, 8, 3))
    arrays = {}
    for split, n in (("train", 200), ("test", 60)):
        labels = np.arange(n) % CLASSES
        noisy = patterns[labels] + rng.normal(0, 120, (n, 8, 8, 3))
        arrays[f"x_{split}"] = np.clip(noisy, 0, 255).astype(np.uint8)
        arrays[f"y_{split}"] = labels
    np.savez(directory / "svhn_mini.npz", **arrays)
    return directory

"""A KIP problem of milliseconds: three classes of noisy 8x8 images, standard preprocessing."""

import numpy as np

from paper_repro.core.methods.problem import Problem
from paper_repro.core.preprocess import Standard
from paper_repro.core.sets.scoring import held_out

N_CLASSES = 3


def images(n, seed):
    """uint8 (n, 8, 8, 3) around one pattern a class, and class numbers (n,)."""
    patterns = np.random.default_rng(0).uniform(80, 176, (N_CLASSES, 8, 8, 3))
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % N_CLASSES
    noisy = patterns[labels] + rng.normal(0, 90, (n, 8, 8, 3))
    return np.clip(noisy, 0, 255).astype(np.uint8), labels


def small_problem(kernel, test_labels=None, alternatives=()):
    """Targets with a validation and a test set; `test_labels` replaces the test set's own."""
    x, y = images(240, seed=1)
    transform = Standard.fit(x)
    x_test, y_test = images(90, seed=3)
    return Problem(
        x,
        y,
        N_CLASSES,
        transform,
        held_out(kernel, transform, *images(60, seed=2), N_CLASSES),
        held_out(kernel, transform, x_test, y_test if test_labels is None else test_labels, 3),
        kernel,
        alternatives,
    )

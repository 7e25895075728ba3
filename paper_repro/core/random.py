"""Randomness that depends on nothing but (seed, purpose, step), so that a run resumes exactly."""

from __future__ import annotations

import enum

import numpy as np


class Purpose(enum.IntEnum):
    """What a stream of random numbers is for; the numbers are part of every recorded result."""

    SUPPORT = 0
    TARGETS = 1
    AUGMENTATION = 2
    NETWORK = 3
    KERNEL = 4
    SUPPORT_BATCH = 5
    LABELS = 6
    RESAMPLES = 7
    LEARNER = 8


def generator(seed: int, purpose: Purpose, step: int = 0) -> np.random.Generator:
    """A generator for one purpose at one step of the run with this seed."""
    return np.random.default_rng(np.random.SeedSequence([seed, int(purpose), step]))

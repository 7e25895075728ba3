"""Scores of training images by two loss buffers, for data sets with wrong labels.

A network trained on all images keeps, for every image, a moving average of its loss under the given
label and of that under the class it predicts. An image whose label is wrong has a high loss under
the label and a low one under the prediction, so low scores are kept. Each score is divided by a
mean over the images with the same given label, which makes classes comparable. Within one class
score ranks as the label loss, and score2 and score3 rank alike: the three differ in what is chosen
across classes.

The sketch these come from does not say whether low or high scores are kept; low ones are the clean
ones. In score3 it writes the prediction loss of image i in the mean over k; the mean here is of
each image's own difference.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np


def score(label_loss: np.ndarray, predicted_loss: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Label loss over its class mean.

    Args:
      label_loss: (n,), of the given label.
      predicted_loss: (n,), of the predicted class; not used here.
      labels: int (n,), the given labels.

    Returns:
      float64 (n,); 0 in a class whose mean is 0.

    Example:
      >>> score(np.array([1.0, 3.0, 5.0]), np.zeros(3), np.array([0, 0, 1]))
      array([0.5, 1.5, 1. ])
    """
    return _over_class_mean(label_loss, label_loss, labels)


def score2(label_loss: np.ndarray, predicted_loss: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Label loss minus predicted loss, over the class mean of the label losses; as `score`.

    Example:
      >>> score2(np.array([1.0, 3.0]), np.array([1.0, 0.0]), np.array([0, 0]))
      array([0. , 1.5])
    """
    return _over_class_mean(label_loss - predicted_loss, label_loss, labels)


def score3(label_loss: np.ndarray, predicted_loss: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Label loss minus predicted loss, over the class mean of that difference; as `score`.

    Example:
      >>> score3(np.array([1.0, 3.0]), np.array([1.0, 0.0]), np.array([0, 0]))
      array([0., 2.])
    """
    difference = label_loss - predicted_loss
    return _over_class_mean(difference, difference, labels)


SCORES: Mapping[str, Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]] = MappingProxyType(
    {"score": score, "score2": score2, "score3": score3}
)
"""By the name of the selection."""


def _over_class_mean(values: np.ndarray, averaged: np.ndarray, labels: np.ndarray) -> np.ndarray:
    values, averaged = np.asarray(values, np.float64), np.asarray(averaged, np.float64)
    counts = np.maximum(np.bincount(labels), 1)
    means = (np.bincount(labels, averaged) / counts)[labels]
    return np.divide(values, means, out=np.zeros_like(values), where=means != 0)

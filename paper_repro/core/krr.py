"""Kernel ridge regression in float64: predictions, the KIP loss, and its adjoint.

With `alpha = (K_ss + reg I)^-1 y_s` and `reg = diag_reg * tr(K_ss) / n` the prediction is
`K_ts alpha` (arXiv 2107.13034, equation 7). Everything here is small, n_support x n_support or
n_target x n_classes, so it runs on the host whatever device made the kernel blocks.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from paper_repro.core import lazy
from paper_repro.core.errors import UserError

if TYPE_CHECKING:
    import scipy.linalg as linalg
else:
    linalg = lazy.module("scipy.linalg")

DIAG_REG = 1e-6
"""Ridge relative to the mean of the support kernel's diagonal (official code)."""


_ROUNDED_OFF = 1e-4
"""Estimated rounding of predictions, relative to the labels, from which on float32 is warned of.

What float32 entries change was 3 to 20 times the estimate for NNGP and NTK matrices of MNIST,
CIFAR-10 and points on a line, and up to 1,000 times where images nearly coincide.
"""


class Unsolvable(UserError):
    """A support kernel that is not finite or not positive definite."""


class Ridge(NamedTuple):
    """A factorised support kernel.

    Attributes:
      factor: Cholesky factor of K_ss + reg I, as `scipy.linalg.cho_factor` returns it.
      diag_reg: the relative ridge it was made with.
    """

    factor: tuple[np.ndarray, bool]
    diag_reg: float

    def solve(self, right: np.ndarray) -> np.ndarray:
        """(K_ss + reg I)^-1 `right`, float64 (n_support, ...)."""
        return linalg.cho_solve(self.factor, right, check_finite=False)


def factorise(k_ss: np.ndarray, diag_reg: float = DIAG_REG) -> Ridge:
    """Factorise K_ss + diag_reg * tr(K_ss) / n * I in float64.

    Args:
      k_ss: (n, n) symmetric support kernel; float32 entries are cast.
      diag_reg: ridge relative to the mean diagonal.

    Raises:
      UserError: not square, or a ridge that is not finite.
      Unsolvable: not finite, or not positive definite even with the ridge.
    """
    k_ss = np.array(k_ss, np.float64)
    if k_ss.ndim != 2 or k_ss.shape[0] != k_ss.shape[1]:
        raise UserError(f"the support kernel must be square, got shape {k_ss.shape}")
    if not np.isfinite(diag_reg):
        raise UserError(f"diag_reg must be finite, not {diag_reg}")
    if not np.isfinite(k_ss).all():
        raise Unsolvable("the support kernel has NaN or infinite entries: check the images")
    k_ss[np.diag_indices_from(k_ss)] += diag_reg * np.trace(k_ss) / len(k_ss)
    try:
        factor = linalg.cho_factor(k_ss, lower=True, overwrite_a=True, check_finite=False)
    except np.linalg.LinAlgError as error:
        raise Unsolvable(
            f"the support kernel is not positive definite at diag_reg={diag_reg:g} (duplicated "
            "images, or float32 entries): raise diag_reg or compute the kernel in float64"
        ) from error
    return Ridge(factor, diag_reg)


def _solved(k_ss: np.ndarray, y_s: np.ndarray, diag_reg: float) -> tuple[Ridge, np.ndarray]:
    """The factorised support kernel and its coefficients of the labels; see `rounding`."""
    ridge = factorise(k_ss, diag_reg)
    alpha = ridge.solve(y_s)
    entries = np.asarray(k_ss)
    if entries.dtype == np.float32 and rounding(entries, alpha, y_s) > _ROUNDED_OFF:
        # One text, so that Python says it once.
        warnings.warn(
            "this support kernel is so badly conditioned that the rounding of its float32 entries "
            "may change predictions by 0.1 % and more: compute the kernel in float64 "
            "(dtype='float64', --dtype float64) or raise diag_reg",
            stacklevel=3,
        )
    return ridge, alpha


def rounding(k_ss: np.ndarray, alpha: np.ndarray, y_s: np.ndarray) -> float:
    """How well conditioned predictions are: what rounding the entries of the kernel does to them.

    Independent relative errors of one eps in the entries change `k_ss @ alpha` by about
    eps sqrt((k_ss * k_ss) @ (alpha * alpha)). A condition number would say the worst case for any
    labels, a thousand times as much for real images.

    Args:
      k_ss: (n, n) support kernel; eps is that of its dtype.
      alpha: coefficients (n, n_classes).
      y_s: labels (n, n_classes).

    Returns:
      The root mean square of that change, relative to the labels'.

    Example:
      >>> k_ss = np.array([[1, 0.9999], [0.9999, 1]], np.float32)
      >>> y_s = np.array([[1.0], [-1.0]])
      >>> float(rounding(k_ss, factorise(k_ss).solve(y_s), y_s)) > 1e-4
      True
    """
    changes = np.square(k_ss, dtype=np.float64) @ np.square(alpha)
    labels = np.mean(np.square(y_s)) or 1.0
    return float(np.finfo(k_ss.dtype).eps * np.sqrt(np.mean(changes) / labels))


def predict(k_ts: np.ndarray, k_ss: np.ndarray, y_s: np.ndarray, diag_reg: float = DIAG_REG):
    """Predictions (n_target, n_classes) in float64 for support labels `y_s` (n_support, n_classes).

    `k_ts` is (n_target, n_support).
    """
    _, alpha = _solved(k_ss, np.asarray(y_s, np.float64), diag_reg)
    return np.asarray(k_ts, np.float64) @ alpha


class LossGradient(NamedTuple):
    """The KIP loss and its cotangents.

    Attributes:
      loss: 0.5 * mean over targets and classes of the squared error.
      k_ts: dL/dK_ts, float64 (n_target, n_support).
      k_ss: dL/dK_ss, symmetric, float64 (n_support, n_support).
      y_s: dL/dy_s, float64 (n_support, n_classes).
    """

    loss: float
    k_ts: np.ndarray
    k_ss: np.ndarray
    y_s: np.ndarray


def loss_and_gradient(
    k_ts: np.ndarray,
    k_ss: np.ndarray,
    y_t: np.ndarray,
    y_s: np.ndarray,
    diag_reg: float = DIAG_REG,
) -> LossGradient:
    """The KIP loss 0.5 mean (y_t - K_ts (K_ss + reg I)^-1 y_s)^2 with its gradient, in float64.

    Args:
      k_ts: (n_target, n_support).
      k_ss: (n_support, n_support); the ridge follows its trace and is differentiated too.
      y_t: centred target labels (n_target, n_classes).
      y_s: support labels (n_support, n_classes).
      diag_reg: ridge relative to the mean diagonal of k_ss.
    """
    k_ts, y_t, y_s = (np.asarray(a, np.float64) for a in (k_ts, y_t, y_s))
    n_support = len(y_s)
    ridge, alpha = _solved(k_ss, y_s, diag_reg)
    residual = k_ts @ alpha - y_t
    loss = 0.5 * float(np.mean(residual**2))
    residual /= residual.size
    beta = ridge.solve(k_ts.T @ residual)
    d_ridge = -0.5 * (beta @ alpha.T + alpha @ beta.T)
    d_k_ss = d_ridge + diag_reg / n_support * np.trace(d_ridge) * np.eye(n_support)
    return LossGradient(loss, residual @ alpha.T, d_k_ss, beta)


class Score(NamedTuple):
    """How predictions do against centred one-hot labels.

    Attributes:
      accuracy: fraction of targets whose largest prediction is at the label.
      mse: 0.5 * mean squared error over targets and classes.
      n: number of targets.
    """

    accuracy: float
    mse: float
    n: int


def score(predictions: np.ndarray, y_t: np.ndarray) -> Score:
    """Accuracy and MSE (with the 0.5 factor) of predictions (n, n_classes) against `y_t`."""
    if predictions.shape != y_t.shape:
        raise UserError(f"predictions {predictions.shape} do not match labels {y_t.shape}")
    accuracy = float(np.mean(predictions.argmax(1) == y_t.argmax(1)))
    return Score(accuracy, 0.5 * float(np.mean((predictions - y_t) ** 2)), len(y_t))

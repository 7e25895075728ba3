"""How the loss of natural images depends on soft labels: through an inner step, or a ridge."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch.nn import functional

from paper_repro.core.errors import Diverged
from paper_repro.core.network.pytorch.networks import FiniteNetwork


class Outer(NamedTuple):
    """What an outer batch gives.

    Attributes:
      loss: mean cross entropy, a number.
      error: share of wrong classes, a number.
      by_labels: gradient of the loss by the labels (n, K) of the base images.
    """

    loss: float
    error: float
    by_labels: torch.Tensor


def _outer(output: torch.Tensor, classes: torch.Tensor) -> tuple[torch.Tensor, float]:
    """The loss and the error of outputs (m, K)."""
    error = float((output.detach().argmax(1) != classes).float().mean())
    return functional.cross_entropy(output, classes), error


def through_inner_step(
    network: FiniteNetwork,
    base: torch.Tensor,
    labels: torch.Tensor,
    x: torch.Tensor,
    classes: torch.Tensor,
    inner_rate: float,
) -> tuple[Outer, tuple[torch.Tensor, ...]]:
    """After one step of gradient descent on the base images (arXiv 2006.08572, Algorithm 1).

    Args:
      network: stays as it is.
      base: base images (n, C, H, W).
      labels: their labels (n, K), which require gradients.
      x: natural images (m, C, H, W).
      classes: their class numbers, int64 (m,).
      inner_rate: the step's learning rate.

    Returns:
      The outer batch, and the gradient of the base images' loss by each parameter, detached.
    """
    parameters = dict(network.named_parameters())
    inner = functional.cross_entropy(network(base), labels)
    slopes = torch.autograd.grad(inner, list(parameters.values()), create_graph=True)
    pairs = zip(parameters.items(), slopes, strict=True)
    moved = {name: value - inner_rate * slope for (name, value), slope in pairs}
    reached = {name: value.detach().requires_grad_() for name, value in moved.items()}
    loss, error = _outer(torch.func.functional_call(network, reached, (x,)), classes)
    by_reached = torch.autograd.grad(loss, list(reached.values()))
    (by_labels,) = torch.autograd.grad(list(moved.values()), [labels], by_reached)
    return Outer(float(loss.detach()), error, by_labels), tuple(s.detach() for s in slopes)


def penultimate(network: FiniteNetwork, x: torch.Tensor) -> torch.Tensor:
    """Inputs of the last layer, and a 1 for its bias: float (n, features + 1)."""
    found = network.readout[:-1](network.features(x))
    return torch.cat([found, torch.ones_like(found[:, :1])], 1)


def ridge_solution(features: torch.Tensor, labels: torch.Tensor, weight: float) -> torch.Tensor:
    """The weights that minimise |features w - labels|^2 + weight |w|^2.

    Solved through the (n, n) Gram matrix; differentiable by the labels.

    Args:
      features: float64 (n, d).
      labels: float64 (n, K).
      weight: positive.

    Returns:
      float64 (d, K).

    Raises:
      Diverged: the features are not finite.

    Example:
      >>> one = torch.ones(1, 1, dtype=torch.float64)
      >>> round(ridge_solution(one, 3 * one, 0.5).item(), 6)
      2.0
    """
    gram = features @ features.T
    gram = gram + weight * torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    factor, failed = torch.linalg.cholesky_ex(gram)
    if failed.item():
        raise Diverged("the network's features are not finite, so that no last layer fits them")
    return features.T @ torch.cholesky_solve(labels, factor)


def through_ridge(
    network: FiniteNetwork,
    base: torch.Tensor,
    labels: torch.Tensor,
    x: torch.Tensor,
    classes: torch.Tensor,
    last: torch.Tensor,
    scale: torch.Tensor,
    share: float,
    weight: float,
) -> tuple[Outer, torch.Tensor]:
    """With a last layer that takes in the ridge solution of the base images (Algorithm 2).

    The gradient is of first order: the features do not depend on the labels.

    Args:
      network, base, labels, x, classes: see `through_inner_step`.
      last: the last layer so far, float64 (features + 1, K).
      scale: a number that multiplies its outputs.
      share: of the ridge solution in the new last layer.
      weight: see `ridge_solution`.

    Returns:
      The outer batch, and the new last layer.
    """
    with torch.no_grad():
        of_base, of_x = (penultimate(network, images).double() for images in (base, x))
    solved = ridge_solution(of_base, labels.double(), weight)
    last = (1 - share) * last + share * solved
    loss, error = _outer(of_x @ last * scale.detach().double(), classes)
    (by_labels,) = torch.autograd.grad(loss, [labels])
    return Outer(float(loss.detach()), error, by_labels), last.detach()

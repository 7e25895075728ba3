"""Training by a few learned steps: what DD learns its images through, and what scores them.

A step is plain gradient descent on the images of that step, one of each class, with a learning
rate of its own. Steps are repeated for a few epochs, in the same order each time (arXiv 1811.10959,
section 3.4).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from paper_repro.core.errors import Diverged
from paper_repro.core.network.pytorch.device import as_inputs, device, one_thread
from paper_repro.core.network.pytorch.networks import build, parameters_of
from paper_repro.core.network.pytorch.spec import Evaluated, UnrolledEvaluation
from paper_repro.core.network.pytorch.training import Report, logits
from paper_repro.core.random import Purpose, generator
from paper_repro.core.store.checkpoint import Resume
from paper_repro.core.store.files import sha256_of_array
from paper_repro.core.store.row_schema import config_hash

Parameters = Mapping[str, torch.Tensor]
"""Parameters of a network by name, as `torch.func.functional_call` takes them."""


@dataclasses.dataclass(frozen=True, eq=False)
class Steps:
    """The learned steps.

    Attributes:
      images: float (n, C, H, W), ordered by class, within a class by step.
      targets: float (n, K), the weights of the classes in the cross entropy, one-hot or learned.
      rates: float (epochs, steps), the learning rates.

    Example:
      >>> steps = Steps(torch.arange(4.0)[:, None, None, None], torch.eye(4), torch.ones(1, 2))
      >>> [x.flatten().tolist() for x, _, _ in steps.in_order()]
      [[0.0, 2.0], [1.0, 3.0]]
    """

    images: torch.Tensor
    targets: torch.Tensor
    rates: torch.Tensor

    def in_order(self) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
        """(images, targets, rate) of each step of each epoch."""
        number = self.rates.shape[1]
        for epoch in self.rates:
            for step, rate in enumerate(epoch):
                yield self.images[step::number], self.targets[step::number], rate


def descend(
    network: nn.Module, start: Parameters, steps: Steps, create_graph: bool = False
) -> dict[str, torch.Tensor]:
    """The parameters after all steps.

    Args:
      network: gives logits; its own parameters are not used.
      start: the initial parameters.
      steps: the steps.
      create_graph: the result can be differentiated by images, targets and rates.
    """
    parameters = {name: value.detach().requires_grad_() for name, value in start.items()}
    for x, targets, rate in steps.in_order():
        output = torch.func.functional_call(network, dict(parameters), (x,))
        loss = functional.cross_entropy(output, targets)
        slopes = torch.autograd.grad(loss, list(parameters.values()), create_graph=create_graph)
        moved = zip(parameters.items(), slopes, strict=True)
        parameters = {name: value - rate * slope for (name, value), slope in moved}
        if not create_graph:
            parameters = {k: value.detach().requires_grad_() for k, value in parameters.items()}
    return parameters


def outer_gradient(
    network: nn.Module,
    start: Parameters,
    steps: Steps,
    x: torch.Tensor,
    classes: torch.Tensor,
    by: Sequence[torch.Tensor],
) -> tuple[float, tuple[torch.Tensor, ...]]:
    """The cross entropy of natural images after the steps, and its gradient through all of them.

    The loss is first differentiated by the parameters that were reached, then these by `by`.

    Args:
      network, start, steps: see `descend`.
      x: natural images (m, C, H, W).
      classes: their class numbers, int64 (m,).
      by: tensors that require gradients and that `steps` is made of.

    Returns:
      The mean loss and a gradient for each of `by`.
    """
    end = descend(network, start, steps, create_graph=True)
    reached = {name: value.detach().requires_grad_() for name, value in end.items()}
    loss = functional.cross_entropy(torch.func.functional_call(network, reached, (x,)), classes)
    slopes = torch.autograd.grad(loss, list(reached.values()))
    return float(loss.detach()), torch.autograd.grad(list(end.values()), by, slopes)


def evaluate(
    evaluation: UnrolledEvaluation,
    images: np.ndarray,
    labels: np.ndarray,
    rates: np.ndarray,
    test_images: np.ndarray,
    test_labels: np.ndarray,
    seed: int,
    directory: Path,
    report: Report,
) -> Evaluated:
    """Train new networks by the learned steps and test each.

    Args:
      evaluation: the networks.
      images: images of the set (n, H, W, C), ordered as in `Steps`.
      labels: (n, K), minus 1/K.
      rates: (epochs, steps).
      test_images: (m, H, W, C), preprocessed likewise.
      test_labels: class numbers (m,).
      seed: decides the initialisations.
      directory: a directory for the state; an interrupted call goes on from there, bit for bit.
      report: progress in networks.

    Raises:
      Diverged: the outputs of a network are not finite.
      UserError: images too small for the network, or the directory of another call.
    """
    parts = (images, labels, rates, test_images, test_labels)
    digests = [sha256_of_array(np.ascontiguousarray(part)) for part in parts]
    settings = {"unrolled": evaluation.recorded, "of": seed, "arrays": digests}
    resume = Resume(directory / "networks", config_hash(settings))
    found = {} if resume.found is None else resume.found.tensors
    accuracies = [float(a) for a in found.get("accuracies", ())]
    n_classes, shape = labels.shape[1], images.shape[1:]
    targets = torch.from_numpy((labels + 1 / n_classes).astype(np.float32)).to(device())
    steps = Steps(as_inputs(images), targets, torch.from_numpy(rates).to(device()))
    test = as_inputs(test_images)
    for number in range(len(accuracies), evaluation.networks):
        drawn = int(generator(seed, Purpose.NETWORK, number).integers(2**62))
        network = build(evaluation.network, shape, n_classes, drawn).to(device())
        with one_thread():
            network.load_state_dict(descend(network, parameters_of(network), steps), strict=False)
            output = logits(network, test)
        if not np.isfinite(output).all():
            raise Diverged(f"network {number + 1} is not finite after the learned steps")
        accuracies.append(float((output.argmax(1) == test_labels).mean()))
        report(len(accuracies), evaluation.networks, {"accuracy": accuracies[-1]})
        if resume.is_due or len(accuracies) == evaluation.networks:
            resume.save({"accuracies": np.asarray(accuracies)})
    return Evaluated(accuracies, resume.seconds)

"""Gradient matching: the distance of two gradients, and the loop that lets images reduce it.

An iteration takes a new random network. A matching step sums over the classes the distance between
the network's gradient on a batch of natural images of the class and that on the class's synthetic
images, and moves all synthetic images once (arXiv 2006.05929, equations 9 and 10). Between two
matching steps the network learns from the synthetic images.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from paper_repro.core.errors import Diverged, UserError
from paper_repro.core.labels import centred_one_hot
from paper_repro.core.methods.gradient_matching.config import (
    ITERATIONS,
    REAL_BATCH,
    MatchingConfig,
)
from paper_repro.core.methods.method import Progress
from paper_repro.core.methods.problem import Problem
from paper_repro.core.methods.random_draw import keep, natural_images
from paper_repro.core.network.pytorch import changes
from paper_repro.core.network.pytorch.device import as_inputs, device
from paper_repro.core.network.pytorch.networks import build
from paper_repro.core.network.pytorch.spec import DIGITS
from paper_repro.core.random import Purpose, generator
from paper_repro.core.sets.learned_set import LearnedSet, slot_classes
from paper_repro.core.store.checkpoint import Resume

EPSILON = 1e-6
"""Beside the product of the norms in a cosine."""


def gradient_distance(real: Sequence[torch.Tensor], made: Sequence[torch.Tensor]) -> torch.Tensor:
    """Sum over layers and output units of one minus the cosine (arXiv 2006.05929, equation 10).

    A layer's gradient (out, in, ...) counts by rows: each filter, or unit, with all its weights.
    Biases and parameters of norms, which have one dimension, do not count.

    Args:
      real, made: gradients by all parameters of one network, in the same order.

    Returns:
      A scalar of their dtype.

    Example:
      >>> a = [torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([5.0, 5.0])]
      >>> b = [torch.tensor([[3.0, 0.0], [1.0, 0.0]]), torch.tensor([0.0, 1.0])]
      >>> round(float(gradient_distance(a, b)), 4)
      1.0
    """
    total = torch.zeros((), dtype=real[0].dtype, device=real[0].device)
    for one, other in zip(real, made, strict=True):
        if one.dim() < 2:
            continue
        one, other = one.flatten(1), other.flatten(1)
        lengths = one.norm(dim=1) * other.norm(dim=1)
        total = total + (1 - (one * other).sum(1) / (lengths + EPSILON)).sum()
    return total


def class_distance(
    network: nn.Module, real: torch.Tensor, made: torch.Tensor, label: int
) -> torch.Tensor:
    """The distance of the gradients of the mean cross entropy on two batches of one class.

    Args:
      network: gives logits; its parameters require gradients.
      real: natural images (n, C, H, W); nothing is differentiated by them.
      made: synthetic images (m, C, H, W); the result can be.
      label: the class of all.
    """
    parameters = list(network.parameters())

    def gradient(x: torch.Tensor, **options: bool) -> Sequence[torch.Tensor]:
        targets = torch.full((len(x),), label, device=x.device)
        return torch.autograd.grad(
            functional.cross_entropy(network(x), targets), parameters, **options
        )

    wanted = [part.detach() for part in gradient(real)]
    return gradient_distance(wanted, gradient(made, create_graph=True))


@dataclasses.dataclass
class _State:
    """Synthetic images in learning.

    Attributes:
      images: float32 (n, C, H, W), ordered by class.
      moment: SGD's momentum, of that shape.
      iteration: how many are done.
      loss: the distance of the last matching step, over the number of classes.
    """

    images: torch.Tensor
    moment: torch.Tensor
    iteration: int = 0
    loss: float = float("nan")


class _Matching:
    """The iterations of one run; what one draws depends on its number alone."""

    def __init__(self, problem: Problem, config: MatchingConfig, seed: int):
        self._problem, self._config, self._seed = problem, config, seed
        self._rows = [np.flatnonzero(problem.labels == c) for c in range(problem.n_classes)]
        if missing := [c for c, rows in enumerate(self._rows) if not len(rows)]:
            raise UserError(f"no image of class {missing[0]}: matching needs every class")
        name = None if problem.dataset is None else problem.dataset.name
        self._flips = name not in DIGITS
        classes = slot_classes(config.images_per_class, problem.n_classes)
        self._classes = torch.from_numpy(classes).to(device())

    def start(self) -> _State:
        """The images before the first iteration."""
        problem, config = self._problem, self._config
        if config.initial == "natural":
            x, _ = natural_images(problem, config.images_per_class, self._seed)
        else:
            shape = (len(self._classes), *problem.x_target.shape[1:])
            x = generator(self._seed, Purpose.SUPPORT).standard_normal(shape)
        images = as_inputs(x)
        return _State(images, torch.zeros_like(images))

    def iterate(self, state: _State, report: Callable[[int], None]) -> None:
        """One iteration, in place; `report` gets the number of every update of the images."""
        rng = generator(self._seed, Purpose.TARGETS, state.iteration)
        network = self.network(rng)
        steps, epochs = self._config.loops
        for step in range(steps):
            if step:
                for _ in range(epochs):
                    self.teach(network, state.images, rng)
            self.match(network, state, rng)
            report(state.iteration * steps + step + 1)
        state.iteration += 1

    def network(self, rng: np.random.Generator) -> nn.Module:
        """A new network."""
        height, width, channels = self._problem.x_target.shape[1:]
        shape, drawn = (height, width, channels), int(rng.integers(2**62))
        return build(self._config.learner, shape, self._problem.n_classes, drawn).to(device())

    def match(self, network: nn.Module, state: _State, rng: np.random.Generator) -> None:
        """One update of all images."""
        config, problem, per = self._config, self._problem, self._config.images_per_class
        total, gradients = 0.0, []
        for label, rows in enumerate(self._rows):
            chosen = rng.choice(rows, min(config.real_batch, len(rows)), replace=False)
            real = as_inputs(problem.transform.apply(problem.x_target[chosen], np.float32))
            made = state.images[label * per : (label + 1) * per].clone().requires_grad_()
            shown = made
            if config.siamese:
                change = changes.draw(rng, None, self._flips)
                real, shown = change(real), change(made)
            distance = class_distance(network, real, shown, label)
            gradients.append(torch.autograd.grad(distance, made)[0])
            total += float(distance.detach())
        if not np.isfinite(total):
            raise Diverged(f"the distance is not finite in iteration {state.iteration + 1}")
        state.moment.mul_(config.momentum).add_(torch.cat(gradients))
        state.images.sub_(state.moment, alpha=config.learning_rate)
        state.loss = total / problem.n_classes

    def teach(self, network: nn.Module, images: torch.Tensor, rng: np.random.Generator) -> None:
        """One epoch of the network on the images, by plain SGD."""
        config, parameters = self._config, list(network.parameters())
        order = torch.from_numpy(rng.permutation(len(images))).to(images.device)
        for rows in order.split(config.network_batch):
            x = images[rows]
            if config.siamese:
                x = changes.draw(rng, len(rows), self._flips)(x)
            loss = functional.cross_entropy(network(x), self._classes[rows])
            for parameter, slope in zip(
                parameters, torch.autograd.grad(loss, parameters), strict=True
            ):
                parameter.data.sub_(slope, alpha=config.network_rate)


def run(
    problem: Problem,
    config: MatchingConfig,
    seed: int,
    directory: Path,
    progress: Progress | None = None,
) -> LearnedSet:
    """Learn a set; see `Method.run`.

    Raises:
      Diverged: the distance is not finite.
      UserError: a class without an image, or images too small for the network.
    """
    matching = _Matching(problem, config, seed)
    fields = {**dataclasses.asdict(config), "learner": config.learner.settings}
    settings = {"method": "gradient_matching", **fields}
    resume = Resume(directory, problem.identity(settings, seed))
    state = matching.start()
    if resume.found is not None:
        kept = resume.found.tensors
        images, moment = (
            torch.from_numpy(np.array(kept[name])).to(device()) for name in ("images", "moment")
        )
        state = _State(images, moment, int(kept["iteration"]), float(kept["loss"]))
    updates, _ = config.loops

    def report(done: int) -> None:
        if progress is not None:
            progress(done, config.iterations * updates, {"distance": state.loss})

    while state.iteration < config.iterations:
        matching.iterate(state, report)
        if resume.is_due or state.iteration == config.iterations:
            resume.save(_tensors(state))
    x = np.ascontiguousarray(np.moveaxis(state.images.cpu().numpy(), 1, 3))
    classes = slot_classes(config.images_per_class, problem.n_classes)
    y = centred_one_hot(classes, problem.n_classes)
    keep(directory, x, y)
    is_whole = config.iterations >= ITERATIONS and config.real_batch >= REAL_BATCH
    budget = {
        "iterations": config.iterations,
        "real_batch": config.real_batch,
        "reduced": problem.is_reduced or not is_whole,
    }
    record = {"step": config.iterations, "seconds": resume.seconds, "budget": budget}
    return LearnedSet.of(x, y, {**record, "beside_network": {"budget": budget}})


def _tensors(state: _State) -> dict[str, np.ndarray]:
    return {
        "images": state.images.cpu().numpy(),
        "moment": state.moment.cpu().numpy(),
        "iteration": np.asarray(state.iteration),
        "loss": np.asarray(state.loss),
    }


def seconds_of_iteration(problem: Problem, config: MatchingConfig) -> float:
    """What an iteration takes on this machine, from its parts, each timed at its second time.

    With ten images a class a whole one takes minutes of a CPU.
    """
    matching = _Matching(problem, config, seed=0)
    state, rng = matching.start(), generator(0, Purpose.TARGETS, 0)
    network = matching.network(rng)

    def seconds_of(part: Callable[..., None], *given: object) -> float:
        part(network, *given, rng)
        started = time.perf_counter()
        part(network, *given, rng)
        return time.perf_counter() - started

    steps, epochs = config.loops
    taught = seconds_of(matching.teach, state.images) if steps > 1 else 0.0
    return steps * seconds_of(matching.match, state) + (steps - 1) * epochs * taught

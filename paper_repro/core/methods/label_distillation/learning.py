"""LD: soft labels of natural images are moved against the loss of a network that learns them.

The network is trained on the base images along with the labels, by Adam, and drawn anew when the
error of the outer batches has stopped falling (arXiv 2006.08572, section 3.2). Labels start
uniform; after each step of Adam they are cut to [0, 1] and divided by their sum. Batches are
independent draws, in the ridge variant the network's own step takes the last layer as a constant,
and the labels of the last step are kept. These are choices made here; they were not compared with
the authors' code.
"""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional

from paper_repro.core.errors import Diverged
from paper_repro.core.methods.label_distillation.config import LabelDistillationConfig
from paper_repro.core.methods.label_distillation.gradients import (
    Outer,
    penultimate,
    through_inner_step,
    through_ridge,
)
from paper_repro.core.methods.label_distillation.patience import Patience
from paper_repro.core.methods.problem import Problem
from paper_repro.core.methods.random_draw import natural_images
from paper_repro.core.network.pytorch.adam import NamedAdam
from paper_repro.core.network.pytorch.device import as_inputs, device, one_thread
from paper_repro.core.network.pytorch.networks import build
from paper_repro.core.random import Purpose, generator

_SCALE_RATE = 0.01
"""Of Adam, for the scale of the ridge's outputs (chosen here)."""


class _Learner:
    """A network in training on the base images, with the ridge's last layer where there is one."""

    def __init__(self, problem: Problem, config: LabelDistillationConfig, seed: int, number: int):
        self.number, self._config = number, config
        shape = problem.x_target.shape[1:]
        drawn = int(generator(seed, Purpose.LEARNER, number).integers(2**62))
        spec = config.network_for(shape[-1])
        self._network = build(spec, shape, problem.n_classes, drawn).to(device())
        named = dict(self._network.named_parameters())
        own = {id(p) for p in self._network.readout[-1].parameters()} if config.ridge else set()
        named = {name: p for name, p in named.items() if id(p) not in own}
        self._adam = NamedAdam("network", named, config.network_rate)
        self._scale = torch.ones((), device=device(), requires_grad=True)
        self._scale_adam = NamedAdam("scale", {"scale": self._scale}, _SCALE_RATE)
        units = self._network.readout[-1].in_features + 1
        self._last = torch.zeros((units, problem.n_classes), dtype=torch.float64, device=device())

    def step(
        self, base: torch.Tensor, labels: torch.Tensor, x: torch.Tensor, classes: torch.Tensor
    ) -> Outer:
        """The outer batch as it is now; then the network has learned from the base images."""
        config = self._config
        if not config.ridge:
            outer, slopes = through_inner_step(
                self._network, base, labels, x, classes, config.inner_rate
            )
            self._adam.step(slopes)
            return outer
        outer, self._last = through_ridge(
            *(self._network, base, labels, x, classes, self._last, self._scale),
            *(config.inner_rate, config.ridge_weight),
        )
        output = penultimate(self._network, base) @ self._last.to(base.dtype) * self._scale
        loss = functional.cross_entropy(output, labels.detach())
        learned = [*self._adam.tensors.values(), self._scale]
        *slopes, by_scale = torch.autograd.grad(loss, learned)
        self._adam.step(slopes)
        self._scale_adam.step([by_scale])
        return outer

    def state(self) -> dict[str, np.ndarray]:
        """What a later process needs to go on."""
        found = {**self._adam.state(), "number": np.asarray(self.number)}
        if self._config.ridge:
            found |= {**self._scale_adam.state(), "last": self._last.cpu().numpy()}
        return found

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Go on from a `state` of the same number."""
        self._adam.restore(state)
        if self._config.ridge:
            self._scale_adam.restore(state)
            self._last = torch.from_numpy(np.array(state["last"])).to(device())


class LabelLearning:
    """The outer steps of one run, see `outer_steps.Learning`.

    Attributes:
      base: the base images (n, H, W, C), and `classes` their class numbers (n,).

    Raises:
      UserError: images too small for the network.
    """

    def __init__(self, problem: Problem, config: LabelDistillationConfig, seed: int):
        self._problem, self._config, self._seed = problem, config, seed
        self.base, self.classes = natural_images(problem, config.images_per_class, seed)
        self._x, k = as_inputs(self.base), problem.n_classes
        self._labels = torch.full((len(self.base), k), 1 / k, device=device())
        labels = {"labels": self._labels.requires_grad_()}
        self._adam = NamedAdam("labels", labels, config.label_rate)
        self._learner = _Learner(problem, config, seed, number=0)
        self._patience = Patience(config.patience)
        self.total = config.steps_for(len(problem.labels))
        self.done, self.loss = 0, float("nan")

    def step(self) -> None:
        """One outer step."""
        problem, config = self._problem, self._config
        rng = generator(self._seed, Purpose.TARGETS, self.done)
        own = rng.choice(len(self.base), min(config.base_batch, len(self.base)), replace=False)
        n = len(problem.labels)
        rows = rng.choice(n, min(config.outer_batch, n), replace=False)
        x = as_inputs(problem.transform.apply(problem.x_target[rows], np.float32))
        classes = torch.from_numpy(problem.labels[rows].astype(np.int64)).to(device())
        chosen = torch.from_numpy(own).to(device())
        labels = self._labels.detach()[chosen].requires_grad_()
        with one_thread():
            outer = self._learner.step(self._x[chosen], labels, x, classes)
        if not (np.isfinite(outer.loss) and bool(outer.by_labels.isfinite().all())):
            raise Diverged(f"the loss is not finite in outer step {self.done + 1}")
        slope = torch.zeros_like(self._labels).index_copy(0, chosen, outer.by_labels)
        self._adam.step([slope])
        with torch.no_grad():
            self._labels.clamp_(0, 1)
            self._labels.div_(self._labels.sum(1, keepdim=True))
        self.done, self.loss = self.done + 1, outer.loss
        if self._patience.is_over(outer.error):
            number = self._learner.number + 1
            self._learner = _Learner(problem, config, self._seed, number)
            self._patience = Patience(config.patience)

    @property
    def labels(self) -> np.ndarray:
        """Labels that sum to 1, float32 (n, K)."""
        return self._labels.detach().cpu().numpy()

    def state(self) -> dict[str, np.ndarray]:
        """What a later process needs to go on."""
        numbers = {"done": np.asarray(self.done), "loss": np.asarray(self.loss)}
        own = {**self._adam.state(), **self._patience.state(), **numbers}
        return {**own, **self._learner.state()}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Go on from a `state`."""
        self._adam.restore(state)
        number = int(state["number"])
        self._learner = _Learner(self._problem, self._config, self._seed, number)
        self._learner.restore(state)
        self._patience.restore(state)
        self.done, self.loss = int(state["done"]), float(state["loss"])

"""DD: images and learning rates are moved against the loss that networks have after the steps.

An outer step draws a new random network and a batch of natural images, lets the network descend by
the distilled steps, and moves images, learning rates and, in SLDD, labels by the gradient of the
batch's loss through all of them (arXiv 1811.10959, Algorithm 1). Where the paper says nothing: one
network an outer step; batches are independent draws without repetition; learning rates are
softplus of what is learned, so that they stay positive; the moments of Adam decay by 0.5 and
0.999. These are choices made here; they were not compared with the authors' code.
"""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional

from paper_repro.core.errors import Diverged, UserError
from paper_repro.core.labels import centred_one_hot
from paper_repro.core.methods.dataset_distillation.config import DistillationConfig
from paper_repro.core.methods.problem import Problem
from paper_repro.core.network.pytorch.adam import NamedAdam
from paper_repro.core.network.pytorch.device import as_inputs, device, one_thread
from paper_repro.core.network.pytorch.networks import build, parameters_of
from paper_repro.core.network.pytorch.unrolled import Steps, outer_gradient
from paper_repro.core.random import Purpose, generator
from paper_repro.core.sets.learned_set import slot_classes

_BETAS = (0.5, 0.999)


class Distillation:
    """The outer steps of one run, see `outer_steps.Learning`.

    Raises:
      UserError: a class without an image, or images too small for the network.
    """

    def __init__(self, problem: Problem, config: DistillationConfig, seed: int):
        present = np.unique(problem.labels)
        if missing := sorted(set(range(problem.n_classes)) - set(present.tolist())):
            raise UserError(f"no image of class {missing[0]}: DD needs every class")
        self._problem, self._config, self._seed = problem, config, seed
        shape, per = problem.x_target.shape[1:], config.images_per_class
        self._spec, self._shape = config.network_for(shape[-1]), shape
        self.total = config.steps_for(len(problem.labels))
        self.done, self.loss = 0, float("nan")
        classes = slot_classes(per, problem.n_classes)
        noise = generator(seed, Purpose.SUPPORT).standard_normal((len(classes), *shape))
        self._images = as_inputs(noise).requires_grad_()
        # softplus(raw) is the published first rate.
        rate = config.rate_for(shape[-1])
        raw = rate + np.log(-np.expm1(-rate))
        self._raw = torch.full((config.step_epochs, per), float(raw), device=device())
        self._raw.requires_grad_()
        one_hot = np.eye(problem.n_classes, dtype=np.float32)[classes]
        self._targets = torch.from_numpy(one_hot).to(device())
        learned = {"images": self._images, "rates": self._raw}
        if config.learn_labels:
            learned["labels"] = self._targets.requires_grad_()
        self._adam = NamedAdam("adam", learned, config.learning_rate, _BETAS)

    def step(self) -> None:
        """One outer step."""
        problem, config = self._problem, self._config
        rng = generator(self._seed, Purpose.TARGETS, self.done)
        n = len(problem.labels)
        rows = rng.choice(n, min(config.outer_batch, n), replace=False)
        drawn = int(rng.integers(2**62))
        network = build(self._spec, self._shape, problem.n_classes, drawn).to(device())
        x = as_inputs(problem.transform.apply(problem.x_target[rows], np.float32))
        classes = torch.from_numpy(problem.labels[rows].astype(np.int64)).to(device())
        learned = list(self._adam.tensors.values())
        steps = Steps(self._images, self._targets, functional.softplus(self._raw))
        start = parameters_of(network)
        with one_thread():
            loss, slopes = outer_gradient(network, start, steps, x, classes, learned)
        if not (np.isfinite(loss) and all(bool(slope.isfinite().all()) for slope in slopes)):
            raise Diverged(
                f"the loss or its gradient is not finite in outer step {self.done + 1}; a smaller "
                "first_rate or learning_rate of its config (in Python) may help"
            )
        self._adam.step(slopes, config.rate_at(self.done, n))
        self.done, self.loss = self.done + 1, loss

    @property
    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Images (n, H, W, C), labels (n, K) minus 1/K, and learning rates (epochs, steps)."""
        images = np.moveaxis(self._images.detach().cpu().numpy(), 1, 3)
        rates = functional.softplus(self._raw.detach()).cpu().numpy()
        problem, config = self._problem, self._config
        if config.learn_labels:
            labels = self._targets.detach().cpu().numpy().astype(np.float64) - 1 / problem.n_classes
        else:
            classes = slot_classes(config.images_per_class, problem.n_classes)
            labels = centred_one_hot(classes, problem.n_classes)
        return np.ascontiguousarray(images), labels, rates

    def state(self) -> dict[str, np.ndarray]:
        """What a later process needs to go on."""
        numbers = {"done": np.asarray(self.done), "loss": np.asarray(self.loss)}
        return {**self._adam.state(), **numbers}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Go on from a `state`."""
        self._adam.restore(state)
        self.done, self.loss = int(state["done"]), float(state["loss"])

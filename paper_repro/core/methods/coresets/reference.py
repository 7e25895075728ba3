"""The network that coresets ask about the training images.

It is trained on all images of a problem, by SGD at a constant rate with the settings of the
published evaluation (arXiv 2006.05929, appendix). One pass over the images per epoch trains it and
records for every image, from the logits with which it stands in its batch, what `Memory` holds.

The training depends on the problem, the seed and `Settings` alone. It stands beside the runs in a
directory of its own, so that all coresets of one data set and seed train it once.
"""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from paper_repro.core.errors import Diverged, UserError
from paper_repro.core.methods.coresets.memory import Memory
from paper_repro.core.methods.method import Progress
from paper_repro.core.methods.problem import Problem
from paper_repro.core.network.pytorch.device import as_inputs, device
from paper_repro.core.network.pytorch.networks import FiniteNetwork, build
from paper_repro.core.network.pytorch.spec import NetworkSpec
from paper_repro.core.random import Purpose, generator
from paper_repro.core.store.checkpoint import Resume
from paper_repro.core.store.files import exclusive

RATE, MOMENTUM, WEIGHT_DECAY, BATCH = 0.01, 0.9, 5e-4, 256
"""Of SGD."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """What decides the training besides problem and seed.

    Attributes:
      learner: the network.
      epochs: passes over the images.
      buffer_decay: weight that an epoch's loss keeps in the buffers after the next one.
    """

    learner: NetworkSpec
    epochs: int
    buffer_decay: float


@dataclasses.dataclass(frozen=True, eq=False)
class Reference:
    """A finished training.

    Attributes:
      forgotten, learned: see `Memory`.
      label_loss, predicted_loss: float64 (n,), weighted means over the epochs, the last one
        weighing most.
      seconds: what the training took, in all sessions.
    """

    forgotten: np.ndarray
    learned: np.ndarray
    label_loss: np.ndarray
    predicted_loss: np.ndarray
    seconds: float
    _problem: Problem
    _network: FiniteNetwork

    def features(self, rows: np.ndarray) -> np.ndarray:
        """What the last layer reads of some images, float32 (m, d).

        They are computed when asked for: those of 60,000 images would take half a gigabyte.
        """
        self._network.eval()
        with torch.no_grad():
            blocks = [
                self._network.features(_inputs(self._problem, rows[i : i + BATCH])).cpu().numpy()
                for i in range(0, len(rows), BATCH)
            ]
        return np.concatenate(blocks)


def trained(
    problem: Problem,
    settings: Settings,
    seed: int,
    beside: Path,
    progress: Progress | None = None,
) -> Reference:
    """The reference of a problem, trained now if that was not done, or not finished.

    Args:
      problem: the images; its kernel and held-out sets do not count.
      settings: see `Settings`.
      seed: decides initialisation and order.
      beside: the directory of a run; the reference stands beside it, as `reference-<identity>`.
      progress: called after each epoch of training.

    Raises:
      Diverged: a loss is not finite.
      UserError: images too small for the network, or another process is training it.
    """
    alone = dataclasses.replace(
        problem, kernel_fn=None, alternatives=(), validation=None, test=None
    )
    identity = alone.identity({"reference": 2, **dataclasses.asdict(settings)}, seed)
    directory = beside.parent / f"reference-{identity[:16]}"
    with exclusive(directory):
        resume = Resume(directory, identity)
        training = _Training(alone, settings, seed)
        if resume.found is not None:
            training.restore(resume.found.tensors)
        while training.epoch < settings.epochs:
            loss = training.run_epoch()
            if progress is not None:
                progress(training.epoch, settings.epochs, {"loss": loss})
            if resume.is_due or training.epoch == settings.epochs:
                resume.save(training.state(), trained_seconds=f"{resume.seconds:.1f}")
        # A session that finds it finished spends no time on it.
        seconds = float(Resume(directory, identity).found.metadata["trained_seconds"])
    return training.reference(seconds)


def _inputs(problem: Problem, rows: np.ndarray) -> torch.Tensor:
    return as_inputs(problem.transform.apply(problem.x_target[rows], np.float32))


class _Training:
    """The training; the order of an epoch depends on its number and the seed alone."""

    def __init__(self, problem: Problem, settings: Settings, seed: int):
        self._problem, self._settings, self._seed = problem, settings, seed
        self._labels = torch.from_numpy(np.asarray(problem.labels, np.int64)).to(device())
        if missing := sorted(set(range(problem.n_classes)) - set(problem.labels.tolist())):
            raise UserError(f"no image of class {missing[0]}: a coreset needs every class")
        # Of its own, so that no network that scores a coreset starts as the one that chose it.
        drawn = int(generator(seed, Purpose.LEARNER).integers(2**62))
        shape = problem.x_target.shape[1:]
        self._network = build(settings.learner, shape, problem.n_classes, drawn).to(device())
        self._optimizer = torch.optim.SGD(
            self._network.parameters(), lr=RATE, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY
        )
        self._memory = Memory.empty(len(problem.labels))
        self.epoch = 0

    def run_epoch(self) -> float:
        """One pass over the images in random order; returns their mean loss."""
        n, total = len(self._labels), 0.0
        order = generator(self._seed, Purpose.LEARNER, 1 + self.epoch).permutation(n)
        self._network.train()
        for first in range(0, n, BATCH):
            rows = order[first : first + BATCH]
            targets = self._labels[torch.from_numpy(rows).to(self._labels.device)]
            logits = self._network(_inputs(self._problem, rows))
            losses = functional.cross_entropy(logits, targets, reduction="none")
            self._optimizer.zero_grad()
            losses.mean().backward()
            self._optimizer.step()
            found = logits.detach()
            # The predicted class has the largest logit and so the smallest loss of all classes.
            predicted = torch.logsumexp(found, 1) - found.max(1).values
            seen = (found.argmax(1) == targets, losses.detach().double(), predicted.double())
            arrays = (part.cpu().numpy() for part in seen)
            self._memory.see(rows, *arrays, self._settings.buffer_decay)
            total += float(losses.detach().sum())
        self.epoch += 1
        if not math.isfinite(total):
            raise Diverged(f"the loss of the reference network is not finite in epoch {self.epoch}")
        return total / n

    def state(self) -> dict[str, np.ndarray]:
        """What a later process needs to go on."""
        tensors = {f"network.{k}": v for k, v in self._network.state_dict().items()}
        for name, parameter in self._network.named_parameters():
            tensors[f"moment.{name}"] = self._optimizer.state[parameter]["momentum_buffer"]
        arrays = {name: tensor.detach().cpu().numpy() for name, tensor in tensors.items()}
        memory = {f"memory.{k}": v for k, v in vars(self._memory).items()}
        return {**arrays, **memory, "epoch": np.asarray(self.epoch)}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Go on from a `state`."""

        def part(name: str) -> dict[str, np.ndarray]:
            mine = (key for key in state if key.startswith(f"{name}."))
            return {key.removeprefix(f"{name}."): np.array(state[key]) for key in mine}

        self._network.load_state_dict(
            {name: torch.from_numpy(value) for name, value in part("network").items()}
        )
        moments = part("moment")
        for name, parameter in self._network.named_parameters():
            buffer = torch.from_numpy(moments[name]).to(parameter.device)
            self._optimizer.state[parameter]["momentum_buffer"] = buffer
        self._memory = Memory(**part("memory"))
        self.epoch = int(state["epoch"])

    def reference(self, seconds: float) -> Reference:
        """What a finished training has recorded."""
        memory = self._memory
        losses = memory.mean_losses(self.epoch, self._settings.buffer_decay)
        return Reference(
            memory.forgotten, memory.learned, *losses, seconds, self._problem, self._network
        )

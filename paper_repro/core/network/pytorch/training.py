"""Training of finite networks on a set, and the published evaluation made of it.

Everything that is drawn depends on (seed, network, epoch) alone, so that a run resumes exactly and
a network's result does not depend on how many are trained beside it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from paper_repro.core.errors import Diverged, UserError
from paper_repro.core.network.pytorch import changes
from paper_repro.core.network.pytorch.device import as_inputs, device
from paper_repro.core.network.pytorch.networks import FiniteNetwork, build
from paper_repro.core.network.pytorch.spec import Evaluated, Evaluation
from paper_repro.core.random import Purpose, generator
from paper_repro.core.store.checkpoint import Resume
from paper_repro.core.store.files import sha256_of_array
from paper_repro.core.store.row_schema import config_hash

Report = Callable[[int, int, Mapping[str, Any]], None]
"""Called with (steps done, steps in all, figures to show)."""

_EPOCHS_OF_A_NETWORK = 1 << 20
"""More epochs than any network takes: numbers of networks times this, plus epochs, never meet."""


def as_targets(labels: np.ndarray) -> torch.Tensor:
    """Labels one-hot minus 1/K, or learned (n, K), as cross entropy takes them.

    Returns:
      Probabilities, float32 (n, K), where adding 1/K to the labels gives some; else class numbers,
      int64 (n,), of the largest label: cross entropy knows no other labels.
    """
    probabilities = np.asarray(labels, np.float64) + 1 / labels.shape[1]
    whole = np.abs(probabilities.sum(1) - 1).max() < 1e-3 and probabilities.min() > -1e-6
    if whole and not np.isin(np.round(probabilities, 6), (0, 1)).all():
        return torch.from_numpy(probabilities.astype(np.float32)).to(device())
    return torch.from_numpy(labels.argmax(1)).to(device())


def epoch_changes(evaluation: Evaluation, rng: np.random.Generator, n: int) -> changes.Map | None:
    """The random map of a batch of `n` training images, or None."""
    if evaluation.changes == "dc":
        return changes.draw_dc(rng, n)
    if evaluation.changes == "dsa":
        return changes.draw(rng, n, evaluation.flips)
    return None


class Training:
    """A network in training on a set, epoch by epoch.

    Args:
      evaluation: the settings.
      x: float32 (n, C, H, W).
      targets: see `as_targets`.
      n_classes: K.
      seed: with `number` decides everything that is drawn.
      number: which of the networks of this seed.

    Attributes:
      network: the network as it stands.
      epoch: how many epochs are done.

    Raises:
      UserError: images too small for the network.
    """

    def __init__(
        self,
        evaluation: Evaluation,
        x: torch.Tensor,
        targets: torch.Tensor,
        n_classes: int,
        seed: int,
        number: int = 0,
    ):
        self._settings, self._x, self._targets = evaluation, x, targets
        self._seed, self._first = seed, number * _EPOCHS_OF_A_NETWORK
        shape = (*x.shape[2:], x.shape[1])
        drawn = generator(seed, Purpose.NETWORK, self._first).integers(2**62)
        self.network = build(evaluation.network, shape, n_classes, int(drawn)).to(device())
        self._optimizer = torch.optim.SGD(
            self.network.parameters(),
            lr=evaluation.learning_rate,
            momentum=evaluation.momentum,
            weight_decay=evaluation.weight_decay,
        )
        self.epoch = 0

    def run_epoch(self) -> float:
        """One pass over the set in random order; returns the mean loss of its images.

        Raises:
          Diverged: the loss is not finite.
        """
        settings, n = self._settings, len(self._x)
        rng = generator(self._seed, Purpose.NETWORK, self._first + 1 + self.epoch)
        decayed = self.epoch > settings.epochs // 2
        for group in self._optimizer.param_groups:
            group["lr"] = settings.learning_rate * (0.1 if decayed else 1.0)
        order, total = torch.from_numpy(rng.permutation(n)).to(self._x.device), 0.0
        self.network.train()
        for first in range(0, n, settings.batch):
            rows = order[first : first + settings.batch]
            x = self._x[rows]
            change = epoch_changes(settings, rng, len(rows))
            loss = functional.cross_entropy(
                self.network(x if change is None else change(x)), self._targets[rows]
            )
            self._optimizer.zero_grad()
            loss.backward()
            self._optimizer.step()
            total += float(loss.detach()) * len(rows)
        self.epoch += 1
        if not math.isfinite(total):
            raise Diverged(f"the loss of the network is not finite in epoch {self.epoch}")
        return total / n

    def state(self) -> dict[str, np.ndarray]:
        """What a later process needs to go on."""
        tensors = {f"network.{k}": v for k, v in self.network.state_dict().items()}
        for name, parameter in self.network.named_parameters():
            if (moment := self._optimizer.state[parameter].get("momentum_buffer")) is not None:
                tensors[f"moment.{name}"] = moment
        arrays = {name: tensor.detach().cpu().numpy() for name, tensor in tensors.items()}
        return {**arrays, "epoch": np.asarray(self.epoch)}

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Go on from a `state`."""
        where = self._x.device
        own = {
            name.removeprefix("network."): torch.from_numpy(np.array(value)).to(where)
            for name, value in state.items()
            if name.startswith("network.")
        }
        self.network.load_state_dict(own)
        for name, parameter in self.network.named_parameters():
            if (moment := state.get(f"moment.{name}")) is not None:
                buffer = torch.from_numpy(np.array(moment)).to(where)
                self._optimizer.state[parameter]["momentum_buffer"] = buffer
        self.epoch = int(state["epoch"])


def logits(network: FiniteNetwork, x: torch.Tensor) -> np.ndarray:
    """Outputs (n, K) on the host, block by block."""
    network.eval()
    with torch.no_grad():
        blocks = [network(block).cpu() for block in x.split(500)]
    return torch.cat(blocks).numpy()


def evaluate(
    evaluation: Evaluation,
    images: np.ndarray,
    labels: np.ndarray,
    test_images: np.ndarray,
    test_labels: np.ndarray,
    seed: int,
    directory: Path,
    report: Report,
) -> Evaluated:
    """Train the networks one after the other and test each once, at its end.

    Args:
      evaluation: the settings.
      images: standardised images of the set, (n, H, W, C).
      labels: (n, K), one-hot minus 1/K or learned; see `as_targets`.
      test_images: (m, H, W, C), preprocessed likewise.
      test_labels: class numbers (m,).
      seed: decides initialisations, batches and maps.
      directory: a directory for the state; an interrupted call goes on from there, bit for bit.
      report: progress in epochs.

    Raises:
      Diverged: the loss of a network is not finite.
      UserError: images too small for the network, or the directory of another call.
    """
    if not (np.isfinite(images).all() and np.isfinite(labels).all()):
        raise UserError("the set has images or labels that are not finite: learn it again")
    parts = (images, labels, test_images, test_labels)
    digests = [sha256_of_array(np.ascontiguousarray(part)) for part in parts]
    settings = {"evaluation": evaluation.recorded, "of": seed, "arrays": digests}
    resume = Resume(directory / "networks", config_hash(settings))
    state = {} if resume.found is None else resume.found.tensors
    accuracies = [float(a) for a in state.get("accuracies", ())]
    x, targets, n_classes = as_inputs(images), as_targets(labels), labels.shape[1]
    test, total = as_inputs(test_images), evaluation.networks * evaluation.epochs
    for number in range(len(accuracies), evaluation.networks):
        training = Training(evaluation, x, targets, n_classes, seed, number)
        if "epoch" in state:
            training.restore(state)
        while training.epoch < evaluation.epochs:
            loss = training.run_epoch()
            report(number * evaluation.epochs + training.epoch, total, {"loss": loss})
            if resume.is_due:
                resume.save({**training.state(), "accuracies": np.asarray(accuracies)})
        found = logits(training.network, test).argmax(1) == test_labels
        accuracies.append(float(found.mean()))
        state = {"accuracies": np.asarray(accuracies)}
        resume.save(state)
    return Evaluated(accuracies, resume.seconds)

"""A grid of hyperparameters for one finite network, and the choice among them on validation."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from paper_repro.core.errors import Diverged, UserError
from paper_repro.core.kernels.architecture import from_name
from paper_repro.core.krr import score
from paper_repro.core.network import Network, TrainingConfig, train
from paper_repro.core.network.finite import Parameters
from paper_repro.core.network.losses import centred_prediction
from paper_repro.core.network.settings import Settings
from paper_repro.core.network.support_augmentation import SupportAugmentation
from paper_repro.core.network.training import initial_bound, outputs
from paper_repro.core.store import checkpoint
from paper_repro.core.store.checkpoint import foreign
from paper_repro.core.store.files import sha256_of_array
from paper_repro.core.store.json_lines import JsonLines
from paper_repro.core.store.row_schema import config_hash

CALIBRATION = 50
"""Images on which the maximum learning rate is estimated."""

_TRIED, _BEST = "tried.jsonl", "best.safetensors"


class AllDiverged(Diverged):
    """No setting of a grid trained; `extra` goes into the row."""

    def __init__(self, tried: list[dict[str, Any]]):
        super().__init__("no setting of the grid trained without diverging", tried=tried)


def training_of(settings: Settings, point: Mapping[str, Any]) -> TrainingConfig:
    """The training of one point of a grid."""
    changes = settings.augmentation
    return TrainingConfig(
        steps=settings.steps,
        batch=settings.batch,
        learning_rate_factor=point.get("learning_rate_factor", 1.0),
        learning_rate=point.get("learning_rate"),
        optimizer=settings.optimizer,
        l2=point["l2"],
        loss=point.get("loss", "mse"),
        augmentation=None if changes is None else SupportAugmentation(**changes),
    )


@dataclasses.dataclass(frozen=True, eq=False)
class Chosen:
    """The network that does best on validation.

    Attributes:
      point: its settings with `validation_accuracy`.
      tried: every point with its validation accuracy, or `diverged`.
      network, parameters: the best network and its parameters.
    """

    point: dict[str, Any]
    tried: list[dict[str, Any]]
    network: Network
    parameters: Parameters

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Centred labels (n, K) of kernel inputs."""
        return _predict(self.network, self.parameters, self.point, x)


def choose(
    settings: Settings,
    architecture: str,
    support: tuple[np.ndarray, np.ndarray],
    validation: tuple[np.ndarray, np.ndarray],
    key: jax.Array,
    directory: Path | None = None,
    report: Callable[[int, int, Mapping[str, Any]], None] | None = None,
) -> Chosen:
    """Train every point of the grid on `support`; the best accuracy on `validation` wins.

    All points start from the same parameters and meet the same batches. With a directory an
    interrupted call is continued: finished points are read back from its log, the one at work
    from its state.

    Args:
      settings: the grid.
      architecture: the network's architecture, by name.
      support: kernel inputs (n, H, W, C) and labels (n, K).
      validation: kernel inputs and centred labels; all of them are used.
      key: decides initialisation, batches and augmentation.
      directory: a directory of this run alone.
      report: progress (steps done, steps of all points, figures).

    Raises:
      AllDiverged: no point has finite outputs.
      UserError: the directory is that of another call, or damaged.
    """
    x, y = support
    points = settings.points
    network = Network(
        from_name(architecture), settings.width, y.shape[1], settings.parameterisation
    )
    parts = (jax.random.key_data(key), *support, *validation)
    identity = config_hash(
        {
            "network": repr(network),
            "settings": settings.recorded,
            "arrays": [sha256_of_array(np.ascontiguousarray(part)) for part in parts],
        }
    )
    log = _Log(None if directory is None else directory / _TRIED, points, identity)
    parameters, best = None, None
    bound = log.bound
    if bound is None and not settings.learning_rate:
        calibration = [validation[0][:CALIBRATION]]
        if settings.stability == "both":
            spread = np.linspace(0, len(x) - 1, min(len(x), CALIBRATION)).astype(int)
            calibration.append(x[spread])
        bound = min(initial_bound(network, x.shape[1:], key, images) for images in calibration)
        log.append({"bound": bound})
    for number, point in enumerate(points):
        if number < len(log.tried):
            found = log.tried[number]
            if _is_better(found, best):
                best = found
            continue

        def progress(step, loss, number=number):
            if report is not None:
                done = number * settings.steps + step
                report(done, len(points) * settings.steps, {"loss": loss})

        place = None if directory is None else directory / f"point_{number:03d}"
        trained = train(
            *(network, x, point["label_scale"] * y, training_of(settings, point), key),
            bound=bound,
            directory=place,
            progress=progress,
        )
        found = {**point, **_measured(network, trained.parameters, point, validation)}
        if _is_better(found, best):
            best, parameters = found, trained.parameters
            if directory is not None:
                _keep(directory, number, parameters)
        log.append(found)
        if place is not None:
            # A state takes several times the room of the parameters, and is not read again.
            shutil.rmtree(place, ignore_errors=True)
    if best is None:
        raise AllDiverged(log.tried)
    if parameters is None:
        parameters = _kept(directory, log.tried.index(best), network, x.shape[1:])
    return Chosen(best, log.tried, network, parameters)


class _Log:
    """What an interrupted call has finished: the bound, then one entry for each point.

    Attributes:
      bound: the largest stable learning rate; None before it is known.
      tried: the points that are done, in order, each with its outcome.
    """

    def __init__(self, path: Path | None, points: list[dict[str, Any]], identity: str):
        self._lines = JsonLines(path)
        entries = self._lines.entries
        if entries and entries[0] != {"identity": identity}:
            raise foreign(path.parent)
        if not entries:
            self._lines.append({"identity": identity})
        self.bound = next((entry["bound"] for entry in entries if "bound" in entry), None)
        self.tried = []
        tried = (e for e in entries if "bound" not in e and "identity" not in e)
        for entry, point in zip(tried, points, strict=False):
            if not point.items() <= entry.items():
                break
            self.tried.append(entry)

    def append(self, entry: dict[str, Any]) -> None:
        """Add the bound, or the outcome of the next point."""
        if "bound" not in entry:
            self.tried.append(entry)
        self._lines.append(entry)


def _is_better(found: Mapping[str, Any], best: Mapping[str, Any] | None) -> bool:
    if "validation_accuracy" not in found:
        return False
    return best is None or found["validation_accuracy"] > best["validation_accuracy"]


def _measured(network, parameters, point, validation) -> dict[str, Any]:
    predicted = _predict(network, parameters, point, validation[0])
    if not np.isfinite(predicted).all():
        return {"diverged": True}
    return {"validation_accuracy": score(predicted, validation[1]).accuracy}


def _predict(network, parameters, point, x) -> np.ndarray:
    f = outputs(network, parameters, x)
    return np.asarray(centred_prediction(point.get("loss", "mse"), f, point["label_scale"]))


def forget(directory: Path) -> None:
    """Remove what a finished `choose` has left to go on from, once its outcome is recorded."""
    for name in (_TRIED, _BEST):
        (directory / name).unlink(missing_ok=True)


def _keep(directory: Path, number: int, parameters: Parameters) -> None:
    tensors = {f"{i}.{k}": np.asarray(v) for i, p in enumerate(parameters) for k, v in p.items()}
    checkpoint.save(directory / _BEST, tensors, {"point": str(number)})


def _kept(directory: Path, number: int, network: Network, image_shape) -> Parameters:
    found = checkpoint.load(directory / _BEST)
    if found.metadata.get("point") != str(number):
        raise UserError(f"{directory} is damaged: delete it and run the same command again")
    shapes = jax.eval_shape(lambda key: network.init(key, image_shape), jax.random.key(0))
    return [{k: found.tensors[f"{i}.{k}"] for k in layer} for i, layer in enumerate(shapes)]

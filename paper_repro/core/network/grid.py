"""A grid of hyperparameters for one finite network, and the choice among them on validation."""

from __future__ import annotations

import dataclasses
import itertools
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np

from paper_repro.core.errors import Diverged, UserError
from paper_repro.core.kernels.architecture import from_name
from paper_repro.core.krr import score
from paper_repro.core.network import Network, TrainingConfig, train
from paper_repro.core.network.finite import Parameters
from paper_repro.core.network.losses import centred_prediction
from paper_repro.core.network.support_augmentation import SupportAugmentation
from paper_repro.core.network.training import Optimizer, initial_bound, outputs
from paper_repro.core.store import checkpoint
from paper_repro.core.store.checkpoint import foreign
from paper_repro.core.store.files import sha256_of_array
from paper_repro.core.store.json_lines import JsonLines
from paper_repro.core.store.row_schema import config_hash

CALIBRATION = 50
"""Images on which the maximum learning rate is estimated."""

_TRIED, _BEST = "tried.jsonl", "best.safetensors"

Stability = Literal["validation", "both"]


class AllDiverged(Diverged):
    """No setting of a grid trained; `extra` goes into the row."""

    def __init__(self, tried: list[dict[str, Any]]):
        super().__init__("no setting of the grid trained without diverging", tried=tried)


@dataclasses.dataclass(frozen=True)
class Settings:
    """What is tried; tuples are the axes of the grid.

    Attributes:
      width, steps, batch, optimizer: see `Network` and `TrainingConfig`.
      learning_rate_factor, l2: axes, see `TrainingConfig`.
      learning_rate: an axis in place of `learning_rate_factor`, if it is not empty.
      label_scale: axis; labels are multiplied by it and outputs divided. At a finite width the
        function at initialisation is noise of order one, and larger labels drown it. Cross
        entropy sees no scale: it is trained once for all of them.
      loss: axis, see `losses`.
      augmentation: fields of a `SupportAugmentation`, or None.
      n_validation: the first so many validation images choose; None for all.
      parameterisation: see `Network`.
      stability: the images whose empirical NTK bounds the learning rate: validation images, as in
        the official notebook, or the smaller bound of theirs and of the support's. Learned
        images can be many times longer than natural ones, and what is stable on these diverges.
    """

    width: int
    steps: int
    l2: tuple[float, ...]
    label_scale: tuple[float, ...]
    learning_rate_factor: tuple[float, ...] = (1.0,)
    loss: tuple[str, ...] = ("mse",)
    batch: int = 100
    augmentation: Mapping[str, Any] | None = None
    n_validation: int | None = None
    parameterisation: str = "standard"
    stability: Stability = "validation"
    optimizer: Optimizer = "sgd"
    learning_rate: tuple[float, ...] = ()

    @property
    def recorded(self) -> dict[str, Any]:
        """What decides the outcome of a grid, for the identity of a call."""
        fields = dataclasses.asdict(self)
        # Calls that were started before these fields existed go on.
        later = {"optimizer": "sgd", "learning_rate": ()}
        return {k: v for k, v in fields.items() if k not in later or v != later[k]}

    @property
    def points(self) -> list[dict[str, Any]]:
        """The settings of the grid, in the order in which they are tried."""
        points = []
        rate = "learning_rate" if self.learning_rate else "learning_rate_factor"
        axes = (self.loss, getattr(self, rate), self.l2, self.label_scale)
        for loss, value, l2, scale in itertools.product(*axes):
            point = {rate: value, "l2": l2}
            point["label_scale"] = scale if loss == "mse" else 1.0
            if tuple(self.loss) != ("mse",):
                point["loss"] = loss
            if point not in points:
                points.append(point)
        return points

    def training(self, point: Mapping[str, Any]) -> TrainingConfig:
        """The training of one point."""
        changes = self.augmentation
        return TrainingConfig(
            steps=self.steps,
            batch=self.batch,
            learning_rate_factor=point.get("learning_rate_factor", 1.0),
            learning_rate=point.get("learning_rate"),
            optimizer=self.optimizer,
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
            *(network, x, point["label_scale"] * y, settings.training(point), key),
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

"""KRR test accuracy and MSE of any support set, ours or another's.

python -m paper_repro.evaluate SET.npz --dataset cifar10 --preprocess zca --architecture convnet

In Python: `paper_repro.evaluate("SET.npz", paper_repro.evaluate.Protocol("cifar10"))`.
"""

from __future__ import annotations

import dataclasses
import json as json_module
import sys
import time
import types
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from paper_repro.core import cli
from paper_repro.core.data import Dataset, load_dataset
from paper_repro.core.data.notice import say
from paper_repro.core.errors import UserError
from paper_repro.core.kernels import Execution, KernelSpec
from paper_repro.core.kernels.execution import ExecutionArguments
from paper_repro.core.preprocess import NAMES, Standard, Transform, fitted, from_file, usual
from paper_repro.core.preprocess.transform import checked, digest, require_pixels
from paper_repro.core.runs.progress import ProgressBars
from paper_repro.core.sets import scoring
from paper_repro.core.sets.learned_set import LearnedSet
from paper_repro.core.store.files import sha256_of_file
from paper_repro.core.store.provenance import provenance
from paper_repro.core.tables.statistics import binomial_interval

PREPROCESS = (*NAMES, "none")
QUIET_SECONDS = 3.0
"""A computation that takes longer shows its progress."""


@dataclasses.dataclass(frozen=True)
class Protocol:
    """How a support set is scored.

    Attributes:
      dataset: the data set whose test images are predicted.
      preprocess: what the test images go through, as the set was made: zca, standard, none (raw
        pixels), or the whitening of another project (zca-rfad, zca-mtt, zca-frepo); default zca
        for RGB, else standard.
      transform: the set's own preprocessing instead: a transform that this project saved
        (safetensors), or a recipe (JSON, see `paper_repro.core.preprocess.recipe_file`).
      raw: the images in the file are raw pixels in 0..255 and go through the same preprocessing.
      architecture: RBF, Laplace, convnet, convnet3, conv-N, myrtle-N, fcN; networks also with
        another activation, as convnet-erf.
      kernel: NTK or NNGP, for networks.
      scale: factor of the distance in the RBF and Laplace kernels; default 1.
      diag_reg: ridge relative to the mean of the support kernel's diagonal.
      n_test: the first so many test images; default all.
      data_dir: directory with <dataset>.npz or a snapshot of the Hub's files.
      execution: how the kernel is computed.
    """

    dataset: str = "cifar10"
    preprocess: str | None = None
    transform: Path | None = None
    raw: bool = False
    architecture: str = "convnet"
    kernel: str = "NTK"
    scale: float | None = None
    diag_reg: float = 1e-6
    n_test: int | None = None
    data_dir: Path | None = None
    execution: ExecutionArguments = Execution()


_DEFAULT = Protocol()


def main(
    file: Annotated[Path, tyro.conf.Positional],
    protocol: tyro.conf.OmitArgPrefixes[Protocol],
    json: bool = False,
) -> None:
    """Score a support set by kernel ridge regression on a test set.

    Examples:
        python -m paper_repro.evaluate kip.npz --dataset cifar10 --preprocess zca
        python -m paper_repro.evaluate photos.npz --dataset cifar10 --raw --n-test 1000
        python -m paper_repro.evaluate kip.npz --dataset mnist --preprocess standard --json
        python -m paper_repro.evaluate theirs.npz --transform theirs.json --n-test 2000
        python -m paper_repro.evaluate mtt.npz --preprocess zca-mtt

    Args:
        file: npz with `images` (NHWC or NCHW) and `labels`: class numbers, or one row an image,
            probabilities (rows sum to 1) or on the scale of one-hot minus 1/K.
        protocol: how it is scored.
        json: print one JSON object.
    """
    result = evaluate(file, protocol)
    if json:
        print(json_module.dumps(result))
        return
    low, high = result["interval"]
    names = result["architecture"], result["kernel"]
    print(
        f"{file.name}: {result['n_support']} images, {' '.join(dict.fromkeys(names))}, "
        f"{result['preprocess']}\n"
        f"test accuracy {100 * result['accuracy']:.2f} %  "
        f"(95 % binomial {100 * low:.2f} to {100 * high:.2f}, {result['n_test']:,} images)\n"
        f"test MSE      {result['mse']:.5f}  (0.5 x mean squared error)\n"
        f"{result['seconds']:.1f} s"
    )


def evaluate(file: Path, protocol: Protocol) -> dict[str, Any]:
    """Score the support set in `file`.

    Args:
      file: npz with `images` and `labels`, see `main`.
      protocol: how it is scored.

    Returns:
      accuracy (a fraction), mse (with the 0.5 factor), mse_of_zero (of predicting 0), n_test,
      interval (95 % binomial, of the accuracy), n_support, seconds, the protocol with its
      defaults resolved, sha256 of the file, transform_sha256 (None without a transform), and what
      it was scored with: versions, hardware, git.

    Raises:
      UserError: bad file, name or number; the message says which.

    Example:
      >>> data = load_dataset("dots", tmp_path)
      >>> np.savez(tmp_path / "set.npz", images=data.x_train[:4], labels=data.y_train[:4])
      >>> protocol = Protocol("dots", raw=True, architecture="fc1", data_dir=tmp_path)
      >>> evaluate(tmp_path / "set.npz", protocol)["n_test"]
      8
    """
    _refuse_contradictions(protocol)
    started = time.monotonic()
    kernel_fn = protocol.execution.kernel(_kernel(protocol))
    data = load_dataset(protocol.dataset, protocol.data_dir)
    given = LearnedSet.from_npz(file, data.image_shape, data.n_classes)
    n_support = len(given.arrays.images)  # read now: a transform takes a minute to fit
    preprocess = str(protocol.transform or protocol.preprocess or usual(data))
    fit = None
    if protocol.preprocess != "none":
        fit = (
            from_file(protocol.transform, data) if protocol.transform else fitted(data, preprocess)
        )
    images = _inputs(given, protocol, data, fit)
    support = LearnedSet.of(images, given.labels)
    first = slice(protocol.n_test)
    test = scoring.held_out(kernel_fn, fit, data.x_test[first], data.y_test[first], data.n_classes)
    status = protocol.execution.status
    with ProgressBars(None, quiet_seconds=QUIET_SECONDS, status=status) as progress:
        progress.start(f"{file.name}: kernel entries")

        def report(done: int, of: int) -> None:
            progress.step(done, of, {})

        found = scoring.score(support, test, kernel_fn, protocol.diag_reg, report)
    nothing = 0.5 * float(np.mean(np.square(test.y)))
    if found.mse > nothing:
        say(
            f"note: the MSE, {found.mse:.4g}, is worse than that of predicting 0 everywhere "
            f"({nothing:.4g}). A few natural images may give that; of a learned set, check that "
            "its labels are in the order of the data set's classes and on the scale of one-hot "
            f"minus 1/K, its images on the kernel's scale, and that it was made with {preprocess}"
        )
    return {
        "accuracy": found.accuracy,
        "mse": found.mse,
        "mse_of_zero": nothing,
        "n_test": found.n,
        "interval": binomial_interval(found.accuracy, found.n),
        "n_support": n_support,
        "dataset": data.name,
        "preprocess": preprocess,
        "transform_sha256": None if fit is None else digest(fit),
        "raw": protocol.raw,
        "architecture": kernel_fn.name,
        "kernel": kernel_fn.name if kernel_fn.name in ("RBF", "Laplace") else protocol.kernel,
        "dtype": protocol.execution.dtype,
        "diag_reg": protocol.diag_reg,
        "seconds": round(time.monotonic() - started, 1),
        "sha256": sha256_of_file(file),
        **provenance(),
    }


def _inputs(
    given: LearnedSet, protocol: Protocol, data: Dataset, fit: Transform | None
) -> np.ndarray:
    """The images of a set as the kernel takes them."""
    if fit is None:
        pixels, standard = checked(given.images), Standard.fit(data.x_train)
        require_pixels(pixels, standard.mean, standard.std, f"{given.path}: the images")
        return pixels
    if not protocol.raw:
        return given.kernel_inputs
    raw = given.images
    try:
        return fit.apply(raw, protocol.execution.dtype)
    except UserError as error:
        raise UserError(f"{given.path}: {error}") from error


def _kernel(protocol: Protocol) -> KernelSpec:
    return KernelSpec(protocol.architecture, protocol.kernel, protocol.scale)


def _refuse_contradictions(protocol: Protocol) -> None:
    if protocol.preprocess not in (None, *PREPROCESS):
        raise UserError(
            f"unknown preprocessing {protocol.preprocess!r}: choose {', '.join(PREPROCESS)}"
        )
    if protocol.preprocess is not None and protocol.transform is not None:
        raise UserError("--transform replaces --preprocess: give one of them")
    if protocol.preprocess == "none" and protocol.raw:
        raise UserError(
            "--preprocess none takes raw images already: leave out --raw, or name the preprocessing"
        )
    if protocol.n_test is not None and protocol.n_test < 1:
        raise UserError(f"n_test must be at least 1, not {protocol.n_test}")
    if not (np.isfinite(protocol.diag_reg) and protocol.diag_reg >= 0):
        raise UserError(f"diag_reg must be finite and not negative, not {protocol.diag_reg}")


class _Callable(types.ModuleType):
    """This module is the public name `paper_repro.evaluate` too: calling it scores a file."""

    def __call__(self, file: Path, protocol: Protocol = _DEFAULT) -> dict[str, Any]:
        """See the function `evaluate`."""
        return self.evaluate(Path(file), protocol)


sys.modules[__name__].__class__ = _Callable


if __name__ == "__main__":
    cli.run(main)

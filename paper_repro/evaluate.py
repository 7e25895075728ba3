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

import tyro

from paper_repro.core import cli
from paper_repro.core.data import load_dataset
from paper_repro.core.errors import UserError
from paper_repro.core.kernels import Execution, KernelSpec
from paper_repro.core.kernels.execution import ExecutionArguments
from paper_repro.core.preprocess import fitted, load, usual
from paper_repro.core.preprocess.transform import digest
from paper_repro.core.runs.progress import ProgressBars
from paper_repro.core.sets import scoring
from paper_repro.core.sets.learned_set import LearnedSet
from paper_repro.core.store.files import sha256_of_file
from paper_repro.core.store.provenance import provenance
from paper_repro.core.tables.statistics import binomial_interval

PREPROCESS = ("zca", "standard", "none")
QUIET_SECONDS = 3.0
"""A computation that takes longer shows its progress."""


@dataclasses.dataclass(frozen=True)
class Protocol:
    """How a support set is scored.

    Attributes:
      dataset: the data set whose test images are predicted.
      preprocess: what the test images go through, as the set was made: zca, standard or none (raw
        pixels); default zca for RGB, else standard.
      transform: a fitted transform saved by this project, instead of `preprocess`.
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
        python -m paper_repro.evaluate theirs.npz --transform theirs.safetensors --n-test 2000

    Args:
        file: npz with `images` (NHWC or NCHW) and `labels` (class numbers, or one row an image:
            one-hot, or learned on the scale of one-hot minus 1/K).
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
      accuracy (a fraction), mse (with the 0.5 factor), n_test, interval (95 % binomial, of the
      accuracy), n_support, seconds, the protocol with its defaults resolved, sha256 of the file,
      transform_sha256 (None without a transform), and what it was scored with: versions, hardware,
      git.

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
    preprocess = str(protocol.transform or protocol.preprocess or usual(data))
    raw = protocol.raw or protocol.preprocess == "none"
    images, fit = given.pixels if raw else given.kernel_inputs, None
    if protocol.preprocess != "none":
        fit = load(protocol.transform) if protocol.transform else fitted(data, preprocess)
    if protocol.raw:
        images = fit.apply(images, protocol.execution.dtype)
    support = LearnedSet.of(images, given.labels)
    first = slice(protocol.n_test)
    test = scoring.held_out(kernel_fn, fit, data.x_test[first], data.y_test[first], data.n_classes)
    with ProgressBars(None, quiet_seconds=QUIET_SECONDS) as progress:
        progress.start(f"{file.name}: kernel entries")

        def report(done: int, of: int) -> None:
            progress.step(done, of, {})

        found = scoring.score(support, test, kernel_fn, protocol.diag_reg, report)
    return {
        "accuracy": found.accuracy,
        "mse": found.mse,
        "n_test": found.n,
        "interval": binomial_interval(found.accuracy, found.n),
        "n_support": len(images),
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


class _Callable(types.ModuleType):
    """This module is the public name `paper_repro.evaluate` too: calling it scores a file."""

    def __call__(self, file: Path, protocol: Protocol = _DEFAULT) -> dict[str, Any]:
        """See the function `evaluate`."""
        return self.evaluate(Path(file), protocol)


sys.modules[__name__].__class__ = _Callable


if __name__ == "__main__":
    cli.run(main)

"""KRR test accuracy and MSE of any support set, ours or another's.

python -m paper_repro.evaluate SET.npz --dataset cifar10 --preprocess zca --architecture convnet
"""

from __future__ import annotations

import json as json_module
import time
from pathlib import Path
from typing import Annotated

import tyro

from paper_repro.core import cli
from paper_repro.core.errors import UserError

PREPROCESS = ("zca", "standard", "none")


def main(
    file: Annotated[Path, tyro.conf.Positional],
    dataset: str = "cifar10",
    preprocess: str = "zca",
    transform: Path | None = None,
    raw: bool = False,
    architecture: str = "convnet",
    kernel: str = "NTK",
    dtype: str = "float32",
    diag_reg: float = 1e-6,
    n_test: int | None = None,
    data_dir: Path | None = None,
    json: bool = False,
) -> None:
    """Score a support set by kernel ridge regression on a test set.

    Examples:
        python -m paper_repro.evaluate kip.npz --dataset cifar10 --preprocess zca
        python -m paper_repro.evaluate kip.npz --dataset mnist --preprocess standard --json
        python -m paper_repro.evaluate theirs.npz --transform theirs.safetensors --n-test 2000

    Args:
        file: npz with `images` (NHWC or NCHW) and `labels` (class numbers, or one row a image).
        dataset: whose test images are predicted.
        preprocess: of the test images: zca, standard or none (raw pixels); as the set was made.
        transform: a fitted transform saved by this project, instead of `preprocess`.
        raw: the images in the file are raw pixels and go through the same preprocessing.
        architecture: RBF, Laplace, convnet, convnet3, conv-N, myrtle-N, fcN.
        kernel: NTK or NNGP, for networks.
        dtype: of the kernel entries, float32 or float64; the solve is float64 always.
        diag_reg: ridge relative to the mean of the support kernel's diagonal.
        n_test: the first so many test images; default all.
        data_dir: directory with <dataset>.npz or a snapshot of the Hub's files.
        json: print one JSON object.
    """
    result = evaluate(
        file, dataset, preprocess, transform, raw, architecture, kernel, dtype, diag_reg, n_test,
        data_dir,
    )  # fmt: skip
    if json:
        print(json_module.dumps(result))
        return
    low, high = result["interval"]
    print(
        f"{file.name}: {result['n_support']} images, {result['architecture']} {result['kernel']}, "
        f"{result['preprocess']}\n"
        f"test accuracy {100 * result['accuracy']:.2f} %  "
        f"(95 % binomial {100 * low:.2f} to {100 * high:.2f}, {result['n_test']:,} images)\n"
        f"test MSE      {result['mse']:.5f}  (0.5 x mean squared error)\n"
        f"{result['seconds']:.1f} s"
    )


def evaluate(
    file: Path,
    dataset: str = "cifar10",
    preprocess: str = "zca",
    transform: Path | None = None,
    raw: bool = False,
    architecture: str = "convnet",
    kernel: str = "NTK",
    dtype: str = "float32",
    diag_reg: float = 1e-6,
    n_test: int | None = None,
    data_dir: Path | None = None,
) -> dict:
    """Score a support set; arguments as for the command line.

    Returns:
      accuracy (a fraction), mse (with the 0.5 factor), n_test, interval (95 % binomial, of the
      accuracy), and what it was computed from.

    Raises:
      UserError: bad file, name or number; the message says which.
    """
    import numpy as np

    from paper_repro.core.data import load_dataset
    from paper_repro.core.kernels import from_name
    from paper_repro.core.krr import predict, score
    from paper_repro.core.labels import centred_one_hot
    from paper_repro.core.preprocess import fitted, load
    from paper_repro.core.statistics import binomial_interval
    from paper_repro.core.support_set import read_support_set

    if preprocess not in PREPROCESS:
        raise UserError(f"unknown preprocessing {preprocess!r}: choose {', '.join(PREPROCESS)}")
    if n_test is not None and n_test < 1:
        raise UserError(f"n_test must be at least 1, not {n_test}")
    started = time.monotonic()
    kernel_fn = from_name(architecture, kernel, dtype)
    data = load_dataset(dataset, data_dir)
    support = read_support_set(file, data.image_shape, data.n_classes)
    x_test, y_test = data.x_test[:n_test], centred_one_hot(data.y_test[:n_test], data.n_classes)
    x_support = support.images
    if transform is not None or preprocess != "none":
        fit = load(transform) if transform is not None else fitted(data, preprocess)
        x_test = fit.apply(x_test, dtype)
        if raw:
            x_support = fit.apply(x_support, dtype)
    k_ss = np.asarray(kernel_fn(x_support))
    k_ts = np.asarray(kernel_fn(x_test, x_support))
    found = score(predict(k_ts, k_ss, support.labels, diag_reg), y_test)
    return {
        "accuracy": found.accuracy,
        "mse": found.mse,
        "n_test": found.n,
        "interval": binomial_interval(found.accuracy, found.n),
        "n_support": len(x_support),
        "dataset": data.name,
        "preprocess": str(transform) if transform is not None else preprocess,
        "architecture": kernel_fn.name,
        "kernel": kernel,
        "dtype": dtype,
        "diag_reg": diag_reg,
        "seconds": round(time.monotonic() - started, 1),
    }


if __name__ == "__main__":
    cli.run(main)

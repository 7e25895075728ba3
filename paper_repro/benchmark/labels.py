"""Label Solve with float32 kernel entries, beside the same with float64 ones.

The solve itself is float64 in both. What the entries' rounding costs shows in the directions of
K_ts that are left out, in the labels, and in the accuracy of the test images.
"""

from __future__ import annotations

import json as json_module
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from paper_repro.core import lazy
from paper_repro.core.data import load_dataset
from paper_repro.core.errors import UserError
from paper_repro.core.kernels import from_name
from paper_repro.core.krr import predict
from paper_repro.core.labels import ClassBalancedSampler, centred_one_hot
from paper_repro.core.machine.memory import keep_freed_memory
from paper_repro.core.preprocess import fitted
from paper_repro.core.random import Purpose, generator
from paper_repro.core.store.provenance import provenance

if TYPE_CHECKING:
    from paper_repro.core.methods import label_solve
else:
    label_solve = lazy.module("paper_repro.core.methods.label_solve")


def labels(
    n_support: tuple[int, ...] = (10, 100, 500, 1_000),
    dataset: str = "cifar10",
    preprocess: str = "standard",
    architecture: str = "FC1",
    n_target: int | None = None,
    n_test: int | None = None,
    json: bool = False,
    data_dir: Path | None = None,
) -> None:
    """Compare Label Solve with float32 and with float64 kernel entries.

    Examples:
        python -m paper_repro.benchmark labels
        python -m paper_repro.benchmark labels --architecture ConvNet --n-target 1000 --n-test 200

    Args:
        n_support: numbers of natural support images, multiples of the number of classes.
        dataset: name of the data set.
        preprocess: standard or zca.
        architecture: the network whose NTK is taken: FC1, ConvNet, ...
        n_target: the first so many training images; all by default.
        n_test: the first so many test images; all by default.
        json: print one JSON object instead of a table.
        data_dir: directory with <name>.npz files or snapshots of the Hub's files.
    """
    if not n_support or any(n is not None and n < 1 for n in (*n_support, n_target, n_test)):
        raise UserError("numbers of supports, targets and test images must be positive")
    rows = measure(n_support, dataset, preprocess, architecture, n_target, n_test, data_dir)
    if json:
        print(json_module.dumps({"rows": rows}))
        return
    first = rows[0]
    print(
        f"Label Solve, {dataset}, {preprocess}, NTK of {architecture}, "
        f"{first['n_target']:,} targets, {first['n_test']:,} test images\n"
        "  supports  condition  left out  accuracy float32  float64  labels apart  seconds"
    )
    for row in rows:
        print(
            f"  {row['n_support']:8,}  {row['condition']:9.1e}  {row['left_out']:8,}"
            f"  {100 * row['accuracy']:16.2f}  {100 * row['accuracy_float64']:7.2f}"
            f"  {row['label_difference']:12.1e}  {row['seconds']:7.1f}"
        )


def measure(
    n_support: tuple[int, ...],
    dataset: str,
    preprocess: str,
    architecture: str,
    n_target: int | None,
    n_test: int | None,
    data_dir: Path | None,
) -> list[dict[str, Any]]:
    """The rows that `labels` prints."""
    keep_freed_memory()
    data = load_dataset(dataset, data_dir)
    transform = fitted(data, preprocess)
    sampler = ClassBalancedSampler(data.y_train, data.n_classes)
    images, numbers = data.x_train[:n_target], data.y_train[:n_target]
    y_target = centred_one_hot(numbers, data.n_classes)
    x_test, y_test = data.x_test[:n_test], data.y_test[:n_test]
    kernels = {dtype: from_name(architecture, "NTK", dtype) for dtype in ("float32", "float64")}
    found, rows = provenance(), []
    for n in n_support:
        if n % data.n_classes:
            raise UserError(f"{n} supports are not the same number for {data.n_classes} classes")
        drawn = sampler.draw_per_class(n // data.n_classes, generator(0, Purpose.SUPPORT))
        y, accuracy, seconds = {}, {}, {}
        for dtype, kernel in kernels.items():
            started = time.perf_counter()
            support = kernel.prepare(transform.apply(data.x_train[drawn], kernel.dtype))
            factor = label_solve.triangular_factor(kernel, support, images, y_target, transform)
            y[dtype] = label_solve.labels_of(factor, kernel, support)
            seconds[dtype] = time.perf_counter() - started
            k_ts = kernel(transform.apply(x_test, kernel.dtype), support)
            predicted = predict(k_ts, kernel(support), y[dtype])
            accuracy[dtype] = float(np.mean(predicted.argmax(1) == y_test))
        # Of the float64 factor, the last one.
        singular = np.linalg.svd(factor[:, :n], compute_uv=False)
        kept = singular > label_solve.rounding(np.dtype("float32"), len(factor)) * singular[0]
        apart = np.linalg.norm(y["float32"] - y["float64"]) / np.linalg.norm(y["float64"])
        rows.append(
            {
                "dataset": dataset,
                "preprocess": preprocess,
                "architecture": architecture,
                "n_support": n,
                "n_target": len(images),
                "n_test": len(x_test),
                "condition": float(singular[0] / singular[-1]),
                "left_out": int(n - kept.sum()),
                "accuracy": accuracy["float32"],
                "accuracy_float64": accuracy["float64"],
                "label_difference": float(apart),
                "seconds": seconds["float32"],
                "seconds_float64": seconds["float64"],
                "versions": found["versions"],
                "hardware": found["hardware"],
            }
        )
    return rows

"""The code that a card shows: it loads a set, applies the transform, scores the set by KRR."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from paper_repro.core.data import registry
from release.format.publication import Publication

N_TEST = 2_000
"""Test images that the KRR snippet predicts: enough for a first look, seconds of work."""

_LOAD = """\
from datasets import load_dataset  # 4.0 or newer

name = "{name}"
rows = load_dataset("{repository}", name, split="train", revision="{version}")
rows = rows.with_format("numpy", columns=["image_whitened", "soft_label", "label"])
x_support = rows["image_whitened"][:]  # float32 {shape}, the kernel's input
y_support = rows["soft_label"][:]  # float32 ({n}, {n_classes}), centred
"""

_ZCA = """\
import numpy as np
from huggingface_hub import hf_hub_download
from safetensors.numpy import load_file

fit = load_file(
    hf_hub_download(
        "{repository}", "{transform}", repo_type="dataset", revision="{version}"
    )
)  # float64
regularisation = {regularisation}


def apply(raw):
    \"\"\"uint8 (n, H, W, C) -> float32, what the kernel consumes.\"\"\"
    x = ((raw - fit["mean"]) / fit["std"]).reshape(len(raw), -1)
    x = x - x.mean(axis=1, keepdims=True)
    x = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-8)
    s, u = fit["eigenvalues"], fit["eigenvectors"]
    whiten = (u * (s + regularisation * s.mean()) ** -0.5) @ u.T
    return (x @ whiten).reshape(raw.shape).astype(np.float32)


assert np.abs(apply(fit["test_input"]) - fit["test_output"]).max() < 1e-5
"""

_STANDARD = """\
import numpy as np
from huggingface_hub import hf_hub_download
from safetensors.numpy import load_file

fit = load_file(
    hf_hub_download(
        "{repository}", "{transform}", repo_type="dataset", revision="{version}"
    )
)  # float64


def apply(raw):
    \"\"\"uint8 (n, H, W, C) -> float32, what the kernel consumes.\"\"\"
    return ((raw - fit["mean"]) / fit["std"]).astype(np.float32)


assert np.abs(apply(fit["test_input"]) - fit["test_output"]).max() < 1e-5
"""

_AFFINE = """\
import numpy as np
from huggingface_hub import hf_hub_download
from safetensors.numpy import load_file

fit = load_file(
    hf_hub_download(
        "{repository}", "{transform}", repo_type="dataset", revision="{version}"
    )
)  # float64
unit_norm = {unit_norm}


def apply(raw):
    \"\"\"uint8 (n, H, W, C) -> float32, what the kernel consumes.\"\"\"
    x = ((raw - fit["mean"]) / fit["std"]).reshape(len(raw), -1)
    if unit_norm:
        x = x - x.mean(axis=1, keepdims=True)
        x = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-8)
    if "matrix" in fit:
        x = (x - fit["centre"]) @ fit["matrix"]
    return x.reshape(raw.shape).astype(np.float32)


assert np.abs(apply(fit["test_input"]) - fit["test_output"]).max() < 1e-5
"""

_KRR = """\
import numpy as np

import release
from paper_repro.core.data import load_dataset
from paper_repro.core.kernels import from_name

name = "{name}"
distilled = release.load(name, source="{repository}", revision="{version}")
data = load_dataset("{dataset}"{data_dir})
rows = slice(0, {n_stated}, {stride})
x_test = distilled.transform.apply(data.x_test[rows])  # the same transform as the support's
kernel = from_name("{architecture}", "{kernel}")
k_ss = np.asarray(kernel(distilled.images), np.float64)
k_ts = np.asarray(kernel(x_test, distilled.images), np.float64)
k_ss += {diag_reg} * np.trace(k_ss) / len(k_ss) * np.eye(len(k_ss))
prediction = k_ts @ np.linalg.solve(k_ss, np.asarray(distilled.labels, np.float64))
print("accuracy", np.mean(prediction.argmax(1) == data.y_test[rows]))
"""


def _place(published: Publication) -> dict[str, str]:
    return {"repository": published.repository, "version": published.version}


def load_snippet(record: Mapping[str, Any], published: Publication) -> str:
    """Loading a configuration with nothing but `datasets`."""
    n = record["n_classes"] * record["images_per_class"]
    shape = (n, *record["release"]["image_shape"])
    return _LOAD.format(
        **_place(published),
        name=record["name"],
        n=n,
        n_classes=record["n_classes"],
        shape=shape,
    )


def transform_snippet(
    record: Mapping[str, Any], settings: Mapping[str, str], published: Publication
) -> str:
    """Applying the shipped transform with NumPy alone; it checks itself on the test vector."""
    template = {"zca": _ZCA, "standard": _STANDARD, "affine": _AFFINE}[settings["kind"]]
    if settings["kind"] == "affine":
        settings = {**settings, "unit_norm": settings["unit_norm"] == "true"}
    return template.format(
        transform=record["release"]["transform"], **_place(published), **settings
    )


def krr_snippet(record: Mapping[str, Any], published: Publication) -> str:
    """Scoring a set by kernel ridge regression on about `N_TEST` evenly spaced test images."""
    keys = ("name", "dataset", "architecture", "kernel", "diag_reg")
    chosen = {key: record[key] for key in keys}
    n_stated = record["metrics"]["n_test"]
    stride = max(1, n_stated // N_TEST)
    own = registry.find(record["dataset"]) is None
    data_dir = ', data_dir="DIRECTORY"' if own else ""
    facts = {**_place(published), **chosen}
    return _KRR.format(n_stated=n_stated, stride=stride, data_dir=data_dir, **facts)

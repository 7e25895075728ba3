"""A release folder small enough to make in milliseconds, with what a push has to handle:
large and small files, folders, a Parquet config that `datasets` loads."""

import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from release.format.manifest import make_manifest, write_manifest

REPO = "tester/sets"
CONFIG = "tiny-ipc1"

CARD = """---
license: apache-2.0
configs:
- config_name: tiny-ipc1
  data_files:
  - split: train
    path: data/tiny-ipc1/train.parquet
---
# Tiny, {version}
"""


def arrays(seed: int = 0) -> dict[str, np.ndarray]:
    """What the Parquet config holds: 10 rows of 12 pixels and 10 soft labels, float32."""
    generator = np.random.default_rng(seed)
    return {
        "image_whitened": generator.normal(size=(10, 12)).astype(np.float32),
        "soft_label": generator.normal(size=(10, 10)).astype(np.float32),
        "label": np.arange(10, dtype=np.int64),
    }


def publish_command(folder: Path, *arguments: str) -> list[str]:
    """`release push` without its verifying, which this release does not pass, as a command."""
    code = "from paper_repro.core.cli import run; from release.push import publish; run(publish)"
    return [sys.executable, "-c", code, "--folder", str(folder), *map(str, arguments)]


def make_release(
    folder: Path, version: str = "v1.0.0", seed: int = 0, extra: str = "", repository: str = REPO
) -> Path:
    """Three large blobs, two small files and the manifest; `extra` names one more large blob."""
    values = arrays(seed)
    for name in ("data/tiny-ipc1", "npz", "transforms"):
        (folder / name).mkdir(parents=True)
    table = pa.table({name: pa.array(list(value)) for name, value in values.items()})
    pq.write_table(table, folder / "data/tiny-ipc1/train.parquet")
    np.savez(folder / "npz/tiny-ipc1.npz", images=values["image_whitened"], labels=values["label"])
    (folder / "transforms/standard.safetensors").write_bytes(values["soft_label"].tobytes())
    if extra:
        (folder / extra).write_bytes(values["soft_label"].tobytes() * 2)
    (folder / "README.md").write_text(CARD.format(version=version))
    (folder / "croissant.json").write_text("{}\n")
    write_manifest(folder, make_manifest(folder, version, repository))
    return folder

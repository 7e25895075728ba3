"""Data sets as raw uint8 arrays, verified byte for byte and cached for offline use."""

from paper_repro.core.data.cache import cache_directory
from paper_repro.core.data.dataset import Dataset
from paper_repro.core.data.load import dataset_names, load_dataset
from paper_repro.core.data.own import require_releasable, write_own

__all__ = [
    "Dataset",
    "cache_directory",
    "dataset_names",
    "load_dataset",
    "require_releasable",
    "write_own",
]

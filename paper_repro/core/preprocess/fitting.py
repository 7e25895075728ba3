"""The transform of a data set by name, fitted once and cached."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from paper_repro.core.data import Dataset, cache_directory
from paper_repro.core.data.notice import say
from paper_repro.core.errors import UserError
from paper_repro.core.preprocess.recipe import PRESETS, Recipe, Whitening, preset
from paper_repro.core.preprocess.recipe_file import read_recipe
from paper_repro.core.preprocess.standard import Standard
from paper_repro.core.preprocess.storage import load, save
from paper_repro.core.preprocess.transform import Transform
from paper_repro.core.preprocess.zca import ZCA

NAMES = ("standard", "zca", *PRESETS)

ZCA_REGULARISATION = {"cifar10": 0.1, "cifar100": 0.1, "svhn": 100.0, "svhn_mini": 100.0}
"""lambda of the official release by data set (arXiv 2107.13034, appendix A); others take 0.1."""


def published_regularisation(dataset: Dataset) -> float:
    """lambda of the ZCA of a data set, see `ZCA_REGULARISATION`."""
    return ZCA_REGULARISATION.get(dataset.name, 0.1)


def usual(dataset: Dataset) -> str:
    """What the papers do to such images: `zca` to RGB ones, `standard` to others."""
    return "zca" if dataset.image_shape[-1] == 3 else "standard"


def fitted(dataset: Dataset, name: str, regularisation: float | None = None) -> Transform:
    """The transform `name` fitted on all training images of `dataset`.

    Standardisation takes a moment and is never cached. A whitening of CIFAR-10 takes about a
    minute on two cores; the file in the cache is keyed by the data's digest and the settings, and
    its test vector is checked whenever it is read.

    Args:
      dataset: raw training images.
      name: `standard`, `zca`, or the whitening of another project, one of `recipe.PRESETS`.
      regularisation: lambda of `zca`; None for the published one.

    Raises:
      UserError: unknown name, or a damaged file in the cache.

    Example:
      >>> data = load_dataset("dots", tmp_path)
      >>> transform = fitted(data, "standard")
      >>> transform.apply(data.x_test).shape
      (8, 4, 4, 1)
    """
    if name == "standard":
        return Standard.fit(dataset.x_train)
    if name in PRESETS:
        return by_recipe(dataset, preset(name, dataset.name))
    if name != "zca":
        raise UserError(f"unknown preprocessing {name!r}: choose one of {', '.join(NAMES)}")
    if regularisation is None:
        regularisation = published_regularisation(dataset)
    key = f"zca-{regularisation:g}"
    return _cached(dataset, key, lambda: ZCA.fit(dataset.x_train, regularisation))


def by_recipe(dataset: Dataset, recipe: Recipe) -> Transform:
    """What a recipe makes of all training images of `dataset`, cached where it is a whitening."""
    if not isinstance(recipe.whitening, Whitening):
        return recipe.fit(dataset)
    return _cached(dataset, f"{recipe.name}-{recipe.digest[:16]}", lambda: recipe.fit(dataset))


def from_file(path: Path, dataset: Dataset) -> Transform:
    """The transform in a file: one that this project saved, or a recipe, fitted on `dataset`.

    Args:
      path: safetensors (see `storage.save`) or JSON (see `recipe_file`).
      dataset: the raw images that a recipe is fitted on.

    Raises:
      UserError: missing, damaged or of another kind.
    """
    if path.suffix == ".json":
        return by_recipe(dataset, read_recipe(path))
    return load(path)


def _cached(dataset: Dataset, key: str, fit: Callable[[], Transform]) -> Transform:
    name = f"{dataset.name}-{key}-{dataset.data_sha256[:16]}.safetensors"
    path = cache_directory() / "transforms" / name
    if path.exists():
        try:
            return load(path)
        except UserError as error:
            raise UserError(
                f"the cached whitening is damaged: delete {path} and run again ({error})"
            ) from error
    transform = fit()
    try:
        save(transform, path)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        say(
            f"warning: the whitening of {dataset.title} is not cached, {path.parent} cannot be "
            f"written ({reason}); set KIP_CACHE_DIR to a directory that can"
        )
    return transform

"""A pytree of arrays as named tensors, the form in which checkpoints keep a run's state."""

from __future__ import annotations

from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from paper_repro.core.errors import UserError

Tree = TypeVar("Tree")


def to_tensors(tree: Any) -> dict[str, np.ndarray]:
    """The leaves as host arrays, named by their paths."""
    leaves, _ = jax.tree.flatten_with_path(tree)
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves}


def from_tensors(tensors: dict[str, np.ndarray], like: Tree) -> Tree:
    """The tree that `to_tensors` took apart; `like` gives names, shapes and structure.

    Scalars come back as arrays of no dimension.

    Raises:
      UserError: the arrays are not those of such a tree.
    """
    leaves, structure = jax.tree.flatten_with_path(like)
    names = [jax.tree_util.keystr(path) for path, _ in leaves]
    shapes = [np.shape(leaf) for _, leaf in leaves]
    if sorted(names) != sorted(tensors) or any(
        tensors[name].shape != shape for name, shape in zip(names, shapes, strict=True)
    ):
        raise UserError("the checkpoint belongs to another kind of run: choose another --out")
    return jax.tree.unflatten(structure, [jnp.asarray(tensors[name]) for name in names])

"""Traced computations on several devices: `jax.shard_map`, and meshes with explicit axes.

Inside of `shard_map` a value's type says over which axes of the mesh it varies, and a loop's carry
or a hand-written gradient must say the same as what is computed. On an explicit mesh the type says
how an array is cut, and an operation that no cut follows from is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec


def varying_alike(values: Any, *others: Any) -> Any:
    """`values`, a pytree, varying over every axis that its arrays or `others` vary over.

    Outside of `shard_map` they are what they were.
    """
    axes = frozenset().union(*(_varying(x) for x in jax.tree.leaves((values, others))))

    def cast(x: jax.Array) -> jax.Array:
        missing = tuple(sorted(axes - _varying(x)))
        return jax.lax.pcast(x, missing, to="varying") if missing else x

    return jax.tree.map(cast, values) if axes else values


def with_automatic_axes(function: Callable[..., jax.Array], *operands: Any) -> jax.Array:
    """The matrix `function(*operands)`, cut by the compiler where a mesh is explicit.

    An operand is a pytree whose first array is images. Rows are cut as those of the first operand,
    columns as those of the last, or not at all where both have one axis.
    """
    types = [jax.typeof(jax.tree.leaves(x)[0]).sharding for x in operands]
    meshes = [t.mesh for t in types if _is_explicit(t.mesh)]
    if not meshes:
        return function(*operands)
    rows, columns = (t.spec[0] if len(t.spec) else None for t in (types[0], types[-1]))
    shared = set(_names(rows)) & set(_names(columns))
    out = NamedSharding(meshes[0], PartitionSpec(rows, None if shared else columns))
    return jax.sharding.auto_axes(function, out_sharding=out)(*operands)


def undivided(x: Any) -> Any:
    """`x`, on the host if it has values and is cut on an explicit mesh."""
    if not isinstance(x, jax.Array) or isinstance(x, jax.core.Tracer):
        return x
    return np.asarray(x) if _is_explicit(jax.typeof(x).sharding.mesh) else x


def _is_explicit(mesh: Any) -> bool:
    return AxisType.Explicit in mesh.axis_types


def _varying(x: Any) -> frozenset:
    kind = jax.typeof(x)
    manual = getattr(kind, "manual_axis_type", None)  # JAX before 0.10.2 has `vma` itself
    return frozenset(getattr(kind, "vma", ()) if manual is None else manual.varying)


def _names(part: Any) -> tuple:
    return part if isinstance(part, tuple) else () if part is None else (part,)

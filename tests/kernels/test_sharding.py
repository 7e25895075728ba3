"""Traced kernels on two host devices: under `shard_map` and under an explicit mesh with `jit`.

A process of its own has two devices; it prints the largest error of each case.
"""

import json
import os
import subprocess
import sys

import pytest

SCRIPT = """
import contextlib, json
import jax, jax.numpy as jnp, numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P
from paper_repro.core.kernels import network_kernel
from paper_repro.core.kernels.architecture import convnet

assert jax.device_count() == 2
rng = np.random.default_rng(0)
x, y = (rng.normal(size=(n, 4, 2, 1)).astype("float32") for n in (4, 6))
seeds = np.ones((4, 6), "float32")
auto, explicit = (
    jax.make_mesh((2,), ("d",), axis_types=(kind,)) for kind in (AxisType.Auto, AxisType.Explicit)
)
rows, whole = P("d"), P()

def split(f, specs, out=rows, **options):
    return jax.jit(jax.shard_map(f, mesh=auto, in_specs=specs, out_specs=out, **options))

def put(array, spec):
    return jax.device_put(array, NamedSharding(explicit, spec))

for name, kernel_fn in {
    "jax": network_kernel("conv-1", backend="jax"),
    "jax, a pool": network_kernel(convnet(1, prepend=False), backend="jax"),
    "numba": network_kernel("conv-1", backend="numba"),
    "closed form": network_kernel("fc2"),
}.items():
    k = np.asarray(kernel_fn(x, y))
    dx, dy = (np.asarray(kernel_fn.vjp(x, y, seeds, argument=n)) for n in (1, 2))
    slope = jax.grad(lambda a, b: kernel_fn(a, b).sum())
    mapped = jax.shard_map(kernel_fn, mesh=auto, in_specs=(rows, whole), out_specs=rows)
    cases = {
        "gradient inside": (lambda: split(slope, (rows, whole))(x, y), dx),
        "explicit gradient": (lambda: jax.jit(slope)(put(x, rows), put(y, rows)), dx),
    }
    if "pool" not in name:
        cases |= {
            "rows": (lambda: split(kernel_fn, (rows, whole))(x, y), k),
            "columns": (lambda: split(kernel_fn, (whole, rows), P(None, "d"))(x, y), k),
            "closed over": (lambda: split(lambda a: kernel_fn(a, y), rows)(x), k),
            "gradient of what is replicated": (
                lambda: jax.jit(jax.grad(lambda b: mapped(x, b).sum()))(y), dy),
            "explicit rows": (lambda: jax.jit(kernel_fn)(put(x, rows), put(y, whole)), k),
            "explicit both": (lambda: jax.jit(kernel_fn)(put(x, rows), put(y, rows)), k),
            "explicit height": (lambda: jax.jit(kernel_fn)(put(x, P(None, "d")), put(y, rows)), k),
            "explicit, not under jit": (lambda: kernel_fn(put(x, rows), put(y, rows)), k),
            "explicit pullback": (lambda: kernel_fn.vjp(put(x, rows), put(y, rows), seeds), dx),
        }
    if name == "jax":
        cases["mesh of the context"] = lambda: jax.jit(kernel_fn)(put(x, rows), put(y, rows)), k
    for case, (call, wanted) in cases.items():
        try:
            context = jax.set_mesh(explicit) if "context" in case else contextlib.nullcontext()
            with context:
                found = np.asarray(call())
            error = float(np.max(np.abs(found - wanted)) / np.max(np.abs(wanted)))
        except Exception as problem:
            error = f"{type(problem).__name__}: {problem}"[:300]
        print(json.dumps([name, case, error]), flush=True)
"""


@pytest.fixture(scope="module")
def found():
    environment = {
        **os.environ,
        "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
        "JAX_PLATFORMS": "cpu",
    }
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize(
    ("name", "cases"), [("jax", 12), ("jax, a pool", 2), ("numba", 11), ("closed form", 11)]
)
def test_values_and_gradients_equal_those_of_one_device(found, name, cases):
    errors = {case: error for kind, case, error in found if kind == name}
    assert len(errors) == cases
    assert not {c: e for c, e in errors.items() if not (isinstance(e, float) and e <= 2e-6)}

"""Traced kernels on two host devices: under `shard_map` and under an explicit mesh with `jit`.

A process of its own has two devices; it prints the largest error of each case.
"""

import json
import os
import subprocess
import sys

import pytest

SCRIPT = """
import json
import jax, jax.numpy as jnp, numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P
from paper_repro.core.kernels import network_kernel
from paper_repro.core.kernels.architecture import convnet

assert jax.device_count() == 2
rng = np.random.default_rng(0)
x, y = (rng.normal(size=(n, 6, 5, 2)).astype("float32") for n in (4, 6))
seeds = np.ones((4, 6), "float32")
auto, explicit = (
    jax.make_mesh((2,), ("d",), axis_types=(kind,)) for kind in (AxisType.Auto, AxisType.Explicit)
)
rows, whole = P("d"), P()

def split(f, specs, out, **options):
    return jax.jit(jax.shard_map(f, mesh=auto, in_specs=specs, out_specs=out, **options))

def put(array, spec):
    return jax.device_put(array, NamedSharding(explicit, spec))

found = {}
for name, kernel_fn in {
    "jax": network_kernel(convnet(1), backend="jax"),
    "numba": network_kernel(convnet(1), backend="numba"),
    "closed form": network_kernel("fc2"),
}.items():
    k, k_xx = np.asarray(kernel_fn(x, y)), np.asarray(kernel_fn(x))
    dx = np.asarray(kernel_fn.vjp(x, y, seeds))
    dy = np.asarray(kernel_fn.vjp(x, y, seeds, argument=2))
    slope = jax.grad(lambda a, b: kernel_fn(a, b).sum())
    mapped = lambda a, b: jax.shard_map(
        kernel_fn, mesh=auto, in_specs=(rows, whole), out_specs=rows)(a, b)
    cases = {
        "rows": (lambda: split(kernel_fn, (rows, whole), rows)(x, y), k),
        "columns": (lambda: split(kernel_fn, (whole, rows), P(None, "d"))(x, y), k),
        "unchecked": (lambda: split(kernel_fn, (rows, whole), rows, check_vma=False)(x, y), k),
        "closed over": (lambda: split(lambda a: kernel_fn(a, y), rows, rows)(x), k),
        "gradient inside": (lambda: split(slope, (rows, whole), rows)(x, y), dx),
        "gradient outside": (
            lambda: jax.jit(jax.grad(lambda a, b: mapped(a, b).sum()))(x, y), dx),
        "gradient of what is replicated": (
            lambda: jax.jit(jax.grad(lambda b: mapped(x, b).sum()))(y), dy),
        "explicit rows": (lambda: jax.jit(kernel_fn)(put(x, rows), put(y, whole)), k),
        "explicit columns": (lambda: jax.jit(kernel_fn)(put(x, whole), put(y, rows)), k),
        "explicit both": (lambda: jax.jit(kernel_fn)(put(x, rows), put(y, rows)), k),
        "explicit self": (lambda: jax.jit(kernel_fn)(put(x, rows)), k_xx),
        "explicit height": (lambda: jax.jit(kernel_fn)(put(x, P(None, "d")), put(y, whole)), k),
        "explicit gradient": (lambda: jax.jit(slope)(put(x, rows), put(y, whole)), dx),
        "explicit gradient of both": (lambda: jax.jit(slope)(put(x, rows), put(y, rows)), dx),
        "explicit, not under jit": (lambda: kernel_fn(put(x, rows), put(y, whole)), k),
        "explicit gradient, not under jit": (lambda: slope(put(x, rows), put(y, whole)), dx),
    }
    for case, (call, wanted) in cases.items():
        try:
            error = float(np.max(np.abs(np.asarray(call()) - wanted)) / np.max(np.abs(wanted)))
        except Exception as problem:
            error = f"{type(problem).__name__}: {problem}"[:300]
        found[f"{name}: {case}"] = error
with jax.set_mesh(explicit):
    kernel_fn = network_kernel(convnet(1), backend="jax")
    inside = jax.jit(kernel_fn)(put(x, rows), put(y, whole))
    found["jax: mesh in context"] = float(np.max(np.abs(np.asarray(inside) - kernel_fn(x, y))))
print(json.dumps(found))
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
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("name", ["jax", "numba", "closed form"])
def test_values_and_gradients_equal_those_of_one_device(found, name):
    errors = {case: error for case, error in found.items() if case.startswith(f"{name}:")}
    assert len(errors) >= 16
    wrong = {c: e for c, e in errors.items() if not (isinstance(e, float) and e <= 2e-6)}
    assert not wrong

"""One KIP step with the FC1 kernel, beside the same step through neural-tangents' kernel.

The peer differentiates the whole KRR loss through neural-tangents' `kernel_fn` under `jit`, in
float32 with a float32 solve, and updates by the same Adam: what one would write with that
library. Ours is the step that training runs: float64 KRR adjoint, kernel pullbacks, Adam. Both
draw their batch from the same preprocessed images on the device.
"""

from __future__ import annotations

import json as json_module
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from paper_repro.benchmark.measure import in_turn
from paper_repro.core import lazy
from paper_repro.core.errors import UserError
from paper_repro.core.kernels import Execution, KernelSpec
from paper_repro.core.kernels.architecture import fully_connected
from paper_repro.core.machine.memory import keep_freed_memory
from paper_repro.core.methods.kip import KIPConfig
from paper_repro.core.methods.problem import Problem
from paper_repro.core.preprocess import Standard
from paper_repro.core.preprocess.augment import Augmentation
from paper_repro.core.store.provenance import peak_mb, provenance

if TYPE_CHECKING:
    from paper_repro.core.kernels import neural_tangents
    from paper_repro.core.methods.kip import batches as kip_batches
    from paper_repro.core.methods.kip import state as kip_state
else:
    neural_tangents = lazy.module("paper_repro.core.kernels.neural_tangents")
    kip_batches = lazy.module("paper_repro.core.methods.kip.batches")
    kip_state = lazy.module("paper_repro.core.methods.kip.state")


def fc(
    n_support: int = 100,
    target_batch: int = 5_000,
    repeats: int = 10,
    json: bool = False,
) -> None:
    """Time a KIP step with the FC1 kernel against the same step with neural-tangents' kernel.

    Examples:
        python -m paper_repro.benchmark fc
        python -m paper_repro.benchmark fc --json --repeats 20

    Args:
        n_support: support images, a multiple of 10.
        target_batch: targets per step.
        repeats: timed steps of each, taken in turn; the median counts.
        json: print one JSON object instead of a table.
    """
    if n_support < 10 or n_support % 10 or target_batch < 10 or repeats < 1:
        raise UserError("n_support must be a multiple of 10, target_batch >= 10, repeats >= 1")
    row = measure(n_support, target_batch, repeats)
    if json:
        print(json_module.dumps({"rows": [row]}))
        return
    print(
        f"FC1 NTK, {n_support} supports, target batch {target_batch:,}, 32x32x3, float32\n"
        f"  one KIP step              {row['ms_per_step']:8.1f} ms\n"
        f"  with neural-tangents      {row['peer_ms_per_step']:8.1f} ms   ({row['ratio']:.2f} x)\n"
        f"  gradient difference       {row['max_rel_err']:8.1e}    relative\n"
        f"  augmented step            {row['augmented_ms_per_step']:8.1f} ms\n"
        f"    of it the augmentation  {row['augmentation_ms']:8.1f} ms   "
        f"({100 * row['augmentation_share']:.0f} %)\n"
        f"  peak memory               {row['peak_mb']:8.0f} MB"
    )


def measure(n_support: int, target_batch: int, repeats: int) -> dict[str, Any]:
    """The row that `fc` prints."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    keep_freed_memory()
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (2 * target_batch, 32, 32, 3), dtype=np.uint8)
    labels = np.arange(len(images)) % 10
    problem = Problem(images, labels, 10, Standard.fit(images))
    kernel = Execution().kernel(KernelSpec("fc1"))
    config = KIPConfig(n_support // 10, 1, target_batch)
    augmented = KIPConfig(n_support // 10, 1, target_batch, augmentation=Augmentation())
    state = kip_state.initial_state(problem, kernel, config, seed=0)
    batches = kip_batches.Batches(problem, kernel, config, seed=0)
    augmented_batches = kip_batches.Batches(problem, kernel, augmented, seed=0)
    peer = _peer_step(config)

    def ours(batches):
        after, _ = kip_state.advance(kernel, state, *batches(0, kernel), config)
        return jax.block_until_ready(after.optimizer[0].mu[0])

    def theirs():
        targets, y = batches(0, kernel)
        step = peer(state.x_support, state.y_support, targets.images, jnp.float32(y))
        return jax.block_until_ready(step[0].mu[0])

    def augmentation():
        return augmented.augmentation.apply(images[:target_batch], np.random.default_rng(0))

    a, b = np.asarray(ours(batches)), np.asarray(theirs()).reshape(state.x_support.shape)
    timed = in_turn(
        repeats,
        lambda: ours(batches),
        theirs,
        lambda: ours(augmented_batches),
        augmentation,
    )
    mine, peers, with_augmentation, augmenting = (1e3 * t for t in timed)
    found = provenance()
    return {
        "architecture": "FC1",
        "shape": "32x32x3",
        "backend": jax.default_backend(),
        "dtype": "float32",
        "n_support": n_support,
        "target_batch": target_batch,
        "ms_per_step": mine,
        "peer_ms_per_step": peers,
        "ratio": peers / mine,
        "max_rel_err": float(np.linalg.norm(a - b) / np.linalg.norm(b)),
        "augmented_ms_per_step": with_augmentation,
        "augmentation_ms": augmenting,
        "augmentation_share": augmenting / with_augmentation,
        "peak_mb": peak_mb(),
        "versions": found["versions"],
        "hardware": found["hardware"],
    }


def _peer_step(config: Any) -> Callable[..., Any]:
    import jax
    import jax.numpy as jnp
    import optax

    kernel_fn = neural_tangents.stax_kernel_fn(fully_connected(1))
    adam = optax.adam(config.learning_rate)

    def loss(x_support, y_support, x_target, y_target):
        k_ss = kernel_fn(x_support, x_support, "ntk")
        k_ts = kernel_fn(x_target, x_support, "ntk")
        ridge = config.diag_reg * jnp.trace(k_ss) / len(k_ss) * jnp.eye(len(k_ss))
        alpha = jax.scipy.linalg.solve(k_ss + ridge, y_support, assume_a="pos")
        return 0.5 * jnp.mean((k_ts @ alpha - y_target) ** 2)

    @jax.jit
    def step(x_support, y_support, x_target, y_target):
        x_support, x_target = (x.reshape(len(x), -1) for x in (x_support, x_target))
        gradient = jax.grad(loss)(x_support, y_support, x_target, y_target)
        learned = (x_support, y_support)
        gradients = (gradient, jnp.zeros_like(y_support))
        updates, optimizer = adam.update(gradients, adam.init(learned), learned)
        return optimizer[0], optax.apply_updates(learned, updates)

    return step

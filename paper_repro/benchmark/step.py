"""One KIP step with the ConvNet kernel, beside the same step with neural-tangents' kernel.

Both are the step that training runs (float64 KRR adjoint, kernel pullbacks block by block, Adam)
and differ in the kernel backend alone. neural-tangents gets fewer targets, since its step at
the full batch would take most of an hour; times are also given per pair of images.
"""

from __future__ import annotations

import json as json_module
from typing import TYPE_CHECKING, Any

from paper_repro.benchmark.measure import in_turn
from paper_repro.core import lazy
from paper_repro.core.errors import UserError
from paper_repro.core.kernels import Execution, KernelSpec
from paper_repro.core.machine.memory import keep_freed_memory
from paper_repro.core.methods.kip import KIPConfig
from paper_repro.core.methods.problem import Problem
from paper_repro.core.preprocess import Standard
from paper_repro.core.store.provenance import peak_mb, provenance

if TYPE_CHECKING:
    from paper_repro.core.methods.kip import batches as kip_batches
    from paper_repro.core.methods.kip import state as kip_state
else:
    kip_batches = lazy.module("paper_repro.core.methods.kip.batches")
    kip_state = lazy.module("paper_repro.core.methods.kip.state")


def step(
    n_support: int = 10,
    target_batch: int = 1_000,
    peer_batch: int = 10,
    repeats: int = 3,
    json: bool = False,
) -> None:
    """Time a KIP step with the ConvNet kernel against one with neural-tangents' kernel.

    Examples:
        python -m paper_repro.benchmark step
        python -m paper_repro.benchmark step --target-batch 5000 --json

    Args:
        n_support: support images, a multiple of 10.
        target_batch: targets of our step.
        peer_batch: targets of the step with neural-tangents' kernel.
        repeats: timed steps of ours and of neural-tangents' each, in turn; the median counts.
        json: print one JSON object instead of a table.
    """
    if n_support < 10 or n_support % 10 or min(target_batch, peer_batch) < 10 or repeats < 1:
        raise UserError("n_support must be a multiple of 10, the batches >= 10, repeats >= 1")
    row = measure(n_support, target_batch, peer_batch, repeats)
    if json:
        print(json_module.dumps({"rows": [row]}))
        return
    print(
        f"ConvNet NTK, {n_support} supports, 32x32x3, float32, {row['backend']}\n"
        f"  one KIP step, {target_batch:,} targets        {row['seconds']:8.2f} s   "
        f"{row['ms_per_pair']:8.3f} ms a pair\n"
        f"  with neural-tangents, {peer_batch:,} targets  {row['peer_seconds']:8.2f} s   "
        f"{row['peer_ms_per_pair']:8.3f} ms a pair\n"
        f"  ratio per pair              {row['ratio']:8.0f} x\n"
        f"  gradient difference         {row['max_rel_err']:8.1e}   relative\n"
        f"  peak memory                 {row['peak_mb']:8.0f} MB"
    )


def measure(n_support: int, target_batch: int, peer_batch: int, repeats: int) -> dict[str, Any]:
    """The row that `step` prints."""
    import jax
    import numpy as np

    keep_freed_memory()
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (max(target_batch, n_support), 32, 32, 3), dtype=np.uint8)
    problem = Problem(images, np.arange(len(images)) % 10, 10, Standard.fit(images))

    def timed(backend: str, batch: int):
        kernel = Execution(backend).kernel(KernelSpec("convnet"))
        config = KIPConfig(n_support // 10, 1, batch, learn_labels=True)
        state = kip_state.initial_state(problem, kernel, config, seed=0)
        batches = kip_batches.Batches(problem, kernel, config, seed=0)

        def gradient():
            after, _ = kip_state.advance(kernel, state, *batches(0, kernel), config)
            return np.asarray(after.optimizer[0].mu[0])  # a tenth of it

        return gradient

    ours, theirs = timed("auto", target_batch), timed("neural_tangents", peer_batch)
    on_few = timed("auto", peer_batch)
    a, b = on_few(), theirs()
    seconds, peer_seconds = in_turn(repeats, ours, theirs)
    pairs, peer_pairs = (n_support * (n_support + n) for n in (target_batch, peer_batch))
    found = provenance()
    return {
        "architecture": "ConvNet",
        "shape": "32x32x3",
        "backend": jax.default_backend(),
        "dtype": "float32",
        "n_support": n_support,
        "target_batch": target_batch,
        "peer_batch": peer_batch,
        "seconds": seconds,
        "peer_seconds": peer_seconds,
        "ms_per_pair": 1e3 * seconds / pairs,
        "peer_ms_per_pair": 1e3 * peer_seconds / peer_pairs,
        "ratio": peer_seconds / peer_pairs / (seconds / pairs),
        "max_rel_err": float(np.linalg.norm(a - b) / np.linalg.norm(b)),
        "peak_mb": peak_mb(),
        "versions": found["versions"],
        "hardware": found["hardware"],
    }

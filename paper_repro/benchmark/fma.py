"""Chains of fused multiply-adds that do nothing else, for the arithmetic limit of a core."""

from __future__ import annotations

from paper_repro.core.kernels.lanes import fma, load, store
from paper_repro.core.kernels.numba_backend.stamp import sources_digest
from paper_repro.core.machine.compiled import compiled


def flops(steps: int) -> int:
    """Additions and multiplications of `chains`: 8 chains of 16 lanes."""
    return steps * 8 * 16 * 2


@compiled(sources_digest(), nogil=True)
def chains(out, steps):
    """Run `steps` multiply-adds in each of 8 independent chains; `out` has 16 * 16 float32."""
    a, b, c, d = load(out, 0), load(out, 16), load(out, 32), load(out, 48)
    e, f, g, h = load(out, 64), load(out, 80), load(out, 96), load(out, 112)
    scale, shift = 0.5 * load(out, 128), 0.5 * load(out, 144)
    for _ in range(steps):
        a = fma(a, scale, shift)
        b = fma(b, scale, shift)
        c = fma(c, scale, shift)
        d = fma(d, scale, shift)
        e = fma(e, scale, shift)
        f = fma(f, scale, shift)
        g = fma(g, scale, shift)
        h = fma(h, scale, shift)
    store(out, 0, a + b + c + d)
    store(out, 16, e + f + g + h)

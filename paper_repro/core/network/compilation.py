"""How programs with convolutions are compiled."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax

from paper_repro.core.machine.device import platform

# XLA's CPU backend gives convolutions to YNNPACK, which runs each on one core (jaxlib 0.10.2);
# without it they run on all, and training is about as fast as in PyTorch (`benchmark transfer`).
_CPU_OPTIONS = {"xla_cpu_experimental_ynn_fusion_type": ""}


def compiled(function: Callable[..., Any], **arguments: Any) -> Callable[..., Any]:
    """`jax.jit(function, **arguments)` with the options that suit convolutions.

    They are chosen at the first call, so that a module may be imported before a backend is. Not to
    be called inside another compiled function.
    """

    @functools.cache
    def jitted():
        return jax.jit(function, compiler_options=_options(), **arguments)

    @functools.wraps(function)
    def call(*args):
        return jitted()(*args)

    return call


@functools.cache
def _options() -> dict[str, str] | None:
    if platform() != "cpu":
        return None
    try:
        jax.jit(lambda: 0.0, compiler_options=_CPU_OPTIONS)()
    except jax.errors.JaxRuntimeError:
        # Another jaxlib, without that option.
        return None
    return _CPU_OPTIONS

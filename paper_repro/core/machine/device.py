"""JAX's device, and the one line where it was told to use one that is not on this machine."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from paper_repro.core import lazy
from paper_repro.core.errors import UserError

if TYPE_CHECKING:
    import jax
else:
    jax = lazy.module("jax")

_VARIABLES = ("JAX_PLATFORMS", "JAX_PLATFORM_NAME")


def platform() -> str:
    """The platform of JAX's default device, `cpu`, `gpu` or `tpu`, which the first call opens.

    Raises:
      UserError: JAX was told to use one that is not on this machine.

    Example:
      >>> from paper_repro.core.machine.device import platform
      >>> platform() in ("cpu", "gpu", "tpu")
      True
    """
    try:
        return jax.default_backend()
    except (AssertionError, RuntimeError) as error:  # for cuda it is the former, without a text
        said = str(error).partition(" (set JAX_PLATFORMS=")[0].rstrip(".")
        raise UserError(
            f"JAX cannot use what {_asked()} names{f' ({said})' if said else ''}: unset it and JAX "
            "takes what is here, or set it to cpu; convolutional kernels of the numba backend "
            "(--backend numba) need no device of JAX"
        ) from error


def platform_or_cpu() -> str:
    """As `platform`, but the CPU, with a line on stderr, in place of one that is not here.

    It is for what JAX computes beside a kernel that needs no device of JAX.
    """
    try:
        return platform()
    except UserError:
        print(f"warning: JAX uses the CPU, not what {_asked()} names", file=sys.stderr, flush=True)
        jax.config.update("jax_platforms", "cpu")
        jax.config.update("jax_platform_name", "cpu")
        return platform()


def require_chosen() -> None:
    """Check that a platform that JAX was told to use is here; nothing where it was told nothing.

    Raises:
      UserError: it is not.
    """
    if "jax" in sys.modules and (any(map(os.environ.get, _VARIABLES)) or jax.config.jax_platforms):
        platform()


def require_xla_flags() -> None:
    """Check XLA_FLAGS before JAX is imported, whose compiler would end the process over it.

    Raises:
      UserError: it is neither a file nor flags as `--xla_...`, or a number in it is none.
    """
    words = os.environ.get("XLA_FLAGS", "").split()
    if not words or (not words[0].startswith("-") and os.path.isfile(words[0])):
        return
    for word in words:
        name, _, value = word.partition("=")
        known = name.startswith(("--xla_", "--tf_", "--noxla_"))
        is_count = name == "--xla_force_host_platform_device_count"
        if not known or (is_count and not value.isdecimal()):
            raise UserError(f"the environment variable XLA_FLAGS has {word!r}, no flag of XLA's")


def _asked() -> str:
    given = (f"{name}={value}" for name in _VARIABLES if (value := os.environ.get(name)))
    return next(given, f"jax.config.jax_platforms ({jax.config.jax_platforms})")

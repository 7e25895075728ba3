"""CUDA C++ to machine code by NVRTC, kept on disk from one process to the next."""

from __future__ import annotations

import functools
import hashlib
import re
from pathlib import Path
from typing import Any

from paper_repro.core.errors import UserError
from paper_repro.core.kernels.cuda_backend.source import Program
from paper_repro.core.machine import kept

_OPTIONS = ("--std=c++17", "--diag-suppress=177", "--ptxas-options=-v")


def cubin(program: Program, name: str, capability: str, folder: Path | None = None) -> bytes:
    """Machine code that has the kernel `name`.

    Args:
      program: of a plan.
      name: of a kernel; all kernels of its pass are in the code.
      capability: of the card, such as `90`.
      folder: where it is kept; None for the user's cache.

    Raises:
      UserError: NVRTC refuses the source, which is a mistake of this program.
    """
    text = program.unit(name)
    key = hashlib.sha256("\n".join([text, capability, *_OPTIONS, _version()]).encode())
    path = (_cache() if folder is None else folder) / f"{key.hexdigest()[:32]}.code"
    code = kept.read(path)
    if code is None:
        code, _ = compiled(text, capability)
        kept.write(path, code, "set XDG_CACHE_HOME to a directory that can be written")
    return code


def compiled(text: str, capability: str) -> tuple[bytes, str]:
    """Machine code of a source text, and what the compiler says of registers and spills."""
    from cuda.bindings import nvrtc

    program = _checked(nvrtc.nvrtcCreateProgram(text.encode(), b"ntk.cu", 0, [], []))
    options = [option.encode() for option in (f"--gpu-architecture=sm_{capability}", *_OPTIONS)]
    result = nvrtc.nvrtcCompileProgram(program, len(options), options)
    size = _checked(nvrtc.nvrtcGetProgramLogSize(program))
    log = bytearray(size)
    _checked(nvrtc.nvrtcGetProgramLog(program, log))
    said = bytes(log).decode(errors="replace").strip("\0\n ")
    if int(result[0]):
        raise UserError(f"NVRTC refuses the kernels for sm_{capability}:\n{said[:4000]}")
    code = bytearray(_checked(nvrtc.nvrtcGetCUBINSize(program)))
    _checked(nvrtc.nvrtcGetCUBIN(program, code))
    nvrtc.nvrtcDestroyProgram(program)
    return bytes(code), said


def resources(log: str) -> dict[str, dict[str, int]]:
    """Registers and bytes of spills of every kernel, from the compiler's log."""
    found = {}
    pattern = (
        r"Compiling entry function '(\w+)'.*?(\d+) bytes stack frame, (\d+) bytes spill stores, "
        r"(\d+) bytes spill loads.*?Used (\d+) registers"
    )
    for name, stack, stores, loads, registers in re.findall(pattern, log, re.DOTALL):
        found[name] = {
            "registers": int(registers),
            "spill_stores": int(stores),
            "spill_loads": int(loads),
            "stack": int(stack),
        }
    return found


@functools.cache
def _version() -> str:
    from cuda.bindings import nvrtc

    return ".".join(map(str, _checked(nvrtc.nvrtcVersion())))


def _cache() -> Path:
    import platformdirs

    return Path(platformdirs.user_cache_dir("kip-repro")) / "cuda"


def _checked(result: tuple[Any, ...]) -> Any:
    status, *values = result
    if int(status):
        raise UserError(f"NVRTC failed: {status!r}")
    return values[0] if len(values) == 1 else tuple(values)

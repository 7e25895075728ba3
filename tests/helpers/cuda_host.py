"""The CUDA kernels built by the C++ compiler of this machine: the same arithmetic without a GPU."""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from paper_repro.core.kernels.cuda_backend.source import Program

_FLAGS = ("-O1", "-march=native", "-std=c++17", "-shared", "-fPIC", "-Wno-unknown-pragmas")


def compiler() -> str | None:
    """A C++ compiler of this machine, or None."""
    return os.environ.get("CXX") or shutil.which("g++") or shutil.which("clang++")


class HostDevice:
    """Has the methods of `cuda_backend.device.CudaDevice`, on NumPy arrays.

    Args:
      folder: where compiled programs are kept; a temporary folder by default.
    """

    def __init__(self, folder: Path | None = None):
        self._folder = Path(folder or tempfile.mkdtemp(prefix="kernels-"))
        self._libraries: dict[str, ctypes.CDLL] = {}

    def launch(self, program: Program, name: str, grid: int, *arguments: object) -> None:
        """Call `name`, whose loops take the place of the grid."""
        del grid
        function = getattr(self._library(program, name), name)
        function.restype = None
        function(*(self._argument(a) for a in arguments))

    def upload(self, array: np.ndarray) -> np.ndarray:
        """A copy in the memory of the device, flat."""
        return np.array(array).ravel()

    def empty(self, size: int, dtype: np.dtype) -> np.ndarray:
        """Memory for `size` numbers, filled with NaN so that what is not written shows."""
        return np.full(size, np.nan, dtype)

    def download(self, memory: np.ndarray) -> np.ndarray:
        """What is in memory, flat."""
        return memory

    def _argument(self, value: object) -> object:
        if isinstance(value, np.ndarray):
            return ctypes.c_void_p(value.ctypes.data)
        return ctypes.c_longlong(value) if isinstance(value, np.int64) else ctypes.c_int(value)

    def _library(self, program: Program, name: str) -> ctypes.CDLL:
        text = program.unit(name)
        key = hashlib.sha256(text.encode()).hexdigest()[:24]
        if key not in self._libraries:
            library = self._folder / f"{key}.so"
            if not library.exists():
                source = self._folder / f"{key}.cpp"
                source.write_text(text)
                command = [compiler(), *_FLAGS, "-o", str(library), str(source)]
                done = subprocess.run(command, capture_output=True, text=True, check=False)
                if done.returncode:
                    raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr[:4000]}")
            self._libraries[key] = ctypes.CDLL(str(library))
        return self._libraries[key]

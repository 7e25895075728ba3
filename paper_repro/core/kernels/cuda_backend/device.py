"""Memory and launches on an NVIDIA card, by NVIDIA's own thin Python bindings.

`cuda-bindings` is taken rather than CuPy or `cuda-core`: it is small, compiles (NVRTC) and launches
with one package, and its functions are those of the driver, which do not change between releases.
The card's primary context is shared with JAX, so both see the same memory.
"""

from __future__ import annotations

import ctypes
import functools
from typing import Any

import numpy as np

from paper_repro.core.errors import UserError
from paper_repro.core.kernels.cuda_backend.compile import cubin
from paper_repro.core.kernels.cuda_backend.source import Program

_GRANULE = 1 << 16


class Memory:
    """Numbers on the card; given back to their device's store when nobody holds them."""

    def __init__(self, device: CudaDevice, address: int, size: int, dtype: np.dtype, room: int):
        self._device = device
        self.address = address
        self.size = size
        self.dtype = dtype
        self._room = room

    def __del__(self) -> None:
        self._device.give_back(self.address, self._room)


class CudaDevice:
    """A card, by its number. Launches are asynchronous and in order; `download` waits for them.

    Raises:
      UserError: the bindings or a card are missing.
    """

    def __init__(self, number: int = 0) -> None:
        try:
            from cuda.bindings import driver
        except ImportError as error:
            raise UserError(
                "the cuda backend needs the packages cuda-bindings and nvidia-cuda-nvrtc: in a "
                "clone, pip install '.[cuda]'"
            ) from error
        self._driver = driver
        try:
            self._check(driver.cuInit(0))
        except RuntimeError as error:  # of the bindings, where there is no driver to be loaded
            raise UserError(
                "the cuda backend needs an NVIDIA card and its driver, and none is found here: "
                "choose another --backend"
            ) from error
        self._device = self._check(driver.cuDeviceGet(number))
        self._context = self._check(driver.cuDevicePrimaryCtxRetain(self._device))
        self._free: dict[int, list[int]] = {}
        self._functions: dict[tuple[Program, str], Any] = {}
        self._modules: list[Any] = []
        self._current()
        attribute = driver.CUdevice_attribute
        major, minor = (
            self._check(driver.cuDeviceGetAttribute(a, self._device))
            for a in (
                attribute.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR,
                attribute.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR,
            )
        )
        self.capability = f"{major}{minor}"

    def peak_gflops(self) -> float:
        """Multiply-adds a second in float32 at the card's highest clock, times two, in 1e9."""
        attribute = self._driver.CUdevice_attribute
        multiprocessors, khz = (
            self._check(self._driver.cuDeviceGetAttribute(a, self._device))
            for a in (
                attribute.CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT,
                attribute.CU_DEVICE_ATTRIBUTE_CLOCK_RATE,
            )
        )
        return peak_gflops(self.capability, multiprocessors, khz)

    def launch(self, program: Program, name: str, grid: int, *arguments: object) -> None:
        """Start `grid` blocks of the kernel `name`; int arguments are 32 bits, np.int64 64."""
        self._current()
        function = self._function(program, name)
        values = [self._argument(a) for a in arguments]
        addresses = (ctypes.c_void_p * len(values))(*(ctypes.addressof(v) for v in values))
        self._check(
            self._driver.cuLaunchKernel(
                function,
                grid, 1, 1,
                32 * program.warps(name), 1, 1,
                program.shared_bytes(name),
                0,
                ctypes.addressof(addresses),
                0,
            )
        )  # fmt: skip

    def upload(self, array: np.ndarray) -> Memory:
        """A copy on the card."""
        array = np.ascontiguousarray(array)
        memory = self.empty(array.size, array.dtype)
        if array.nbytes:
            copy = self._driver.cuMemcpyHtoD
            self._check(copy(memory.address, array.ctypes.data, array.nbytes))
        return memory

    def empty(self, size: int, dtype: np.dtype) -> Memory:
        """Memory for `size` numbers."""
        dtype = np.dtype(dtype)
        room = max(1, -(-size * dtype.itemsize // _GRANULE)) * _GRANULE
        kept = self._free.get(room)
        if kept:
            return Memory(self, kept.pop(), size, dtype, room)
        self._current()
        status, address = self._driver.cuMemAlloc(room)
        if int(status):
            self._release()
            address = self._check(self._driver.cuMemAlloc(room))
        return Memory(self, int(address), size, dtype, room)

    def download(self, memory: Memory) -> np.ndarray:
        """A copy on the host, after everything that was launched."""
        out = np.empty(memory.size, memory.dtype)
        self._current()
        if out.nbytes:
            copy = self._driver.cuMemcpyDtoH
            self._check(copy(out.ctypes.data, memory.address, out.nbytes))
        return out

    def wait(self) -> None:
        """Until everything that was launched has ended."""
        self._current()
        self._check(self._driver.cuCtxSynchronize())

    def give_back(self, address: int, room: int) -> None:
        """Keep memory for the next one of its size; work in order makes that safe."""
        self._free.setdefault(room, []).append(address)

    def _release(self) -> None:
        """Give all kept memory back to the card."""
        self.wait()
        for addresses in self._free.values():
            while addresses:
                self._check(self._driver.cuMemFree(addresses.pop()))

    def _current(self) -> None:
        """The context belongs to a thread; a caller may be any."""
        self._check(self._driver.cuCtxSetCurrent(self._context))

    def _function(self, program: Program, name: str) -> Any:
        if (program, name) not in self._functions:
            driver = self._driver
            module = self._check(driver.cuModuleLoadData(cubin(program, name, self.capability)))
            self._modules.append(module)
            for each in program.kernels(name):
                function = self._check(driver.cuModuleGetFunction(module, each.encode()))
                shared = program.shared_bytes(each)
                if shared:
                    attribute = driver.CUfunction_attribute
                    for key, value in (
                        (attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, shared),
                        (attribute.CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT, 100),
                    ):
                        self._check(driver.cuFuncSetAttribute(function, key, value))
                self._functions[program, each] = function
        return self._functions[program, name]

    @staticmethod
    def _argument(value: object) -> Any:
        if isinstance(value, Memory):
            return ctypes.c_void_p(value.address)
        return ctypes.c_longlong(value) if isinstance(value, np.int64) else ctypes.c_int(value)

    def _check(self, result: tuple[Any, ...]) -> Any:
        status, *values = result
        if int(status):
            raise UserError(f"the card refused a request of the cuda backend: {status!r}")
        if not values:
            return None
        return values[0] if len(values) == 1 else tuple(values)


def peak_gflops(capability: str, multiprocessors: int, khz: int) -> float:
    """What a card of these figures could do in float32, in 1e9 additions and multiplications.

    Example:
      >>> round(peak_gflops("90", 132, 1_980_000) / 1e3)  # an H100: the data sheet has 67 Tflop/s
      67
    """
    lanes = 64 if capability in ("70", "75", "80") else 128
    return multiprocessors * lanes * 2 * khz / 1e6


@functools.cache
def cuda_device(number: int = 0) -> CudaDevice:
    """A card of this machine, one object each for the whole process."""
    return CudaDevice(number)

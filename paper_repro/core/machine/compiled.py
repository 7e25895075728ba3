"""Functions compiled by Numba and kept on disk, which no state of that disk keeps from running.

Numba's own cache ends a program with a traceback where a file of it is damaged, its disk is full
or no directory can be written, and goes on with old code where an entry could be written to the
index but not to the file. Here there is one file for each function, argument types and processor,
which says in itself what it is; see `kept`.
"""

from __future__ import annotations

import hashlib
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
from numba.core import caching
from numba.core.compiler_lock import global_compiler_lock
from numba.core.serialize import dumps

from paper_repro.core.errors import UserError
from paper_repro.core.machine import kept

if numba.config.DISABLE_JIT:
    raise UserError(
        "NUMBA_DISABLE_JIT turns off the compiler that the kernels need: unset it, or choose "
        "--backend jax"
    )

_ADVICE = "set NUMBA_CACHE_DIR to a directory that can be written"

# A child that is forked while another thread compiles would wait for ever for what that one holds.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=global_compiler_lock.acquire,
        after_in_parent=global_compiler_lock.release,
        after_in_child=global_compiler_lock.release,
    )


def compiled(stamp: str = "", **options: Any) -> Callable[[Callable[..., Any]], Any]:
    """A decorator: `numba.njit(**options)`, with the result kept on disk.

    It is kept where Numba's `cache=True` would keep it (NUMBA_CACHE_DIR, beside the source, or the
    user's cache directory), and not at all where none of them can be written.

    Args:
      stamp: what the code depends on besides the file of the function.
      **options: of `njit`; not `parallel`, whose threads survive no fork and, without OpenMP, no
        second caller (see `threads`).

    Example:
      >>> import numpy as np
      >>> from paper_repro.core.machine.compiled import compiled
      >>> @compiled(nogil=True)
      ... def total(x):
      ...     return x.sum()
      >>> total(np.ones(3))
      3.0
    """

    def decorate(function: Callable[..., Any]) -> Any:
        dispatcher = numba.njit(**options)(function)
        try:
            dispatcher._cache = _Cache(function, stamp)
        except (RuntimeError, OSError) as error:
            # What was typed at a prompt has no place of its own anywhere.
            if os.path.exists(function.__code__.co_filename):
                why = "no cache directory can be written, nor that of the sources"
                if "no locator available" not in str(error):  # what Numba says of that
                    why = kept.reason(error)
                kept.tell(
                    f"compiled code is not kept, so that every process compiles again ({why}): "
                    f"{_ADVICE}"
                )
        return dispatcher

    return decorate


class _UserWide(caching.UserWideCacheLocator):
    """Numba's, but never in the working directory, where it goes for a user without a home."""

    @classmethod
    def from_function(cls, py_func: Callable[..., Any], py_file: str) -> Any:
        if not os.path.isabs(cls(py_func, py_file).get_cache_path()):
            return None
        return super().from_function(py_func, py_file)


class _Places(caching.CompileResultCacheImpl):
    _locator_classes = tuple(
        _UserWide if locator is caching.UserWideCacheLocator else locator
        for locator in caching.CompileResultCacheImpl._locator_classes
    )


class _Cache(caching.FunctionCache):
    """Numba's cache of a function, over files of ours, none of whose failures is an error."""

    _impl_class = _Places

    def __init__(self, function: Callable[..., Any], stamp: str):
        super().__init__(function)
        locator = self._impl.locator
        marks = (numba.__version__, repr(locator.get_source_stamp()), stamp)
        self._cache_file = _Files(Path(locator.get_cache_path()), self._impl.filename_base, marks)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        try:
            return super().load_overload(sig, target_context)
        except Exception as error:  # whatever bytes that are no code of ours make Numba raise
            path = self._cache_file.path(self._index_key(sig, target_context.codegen()))
            kept.tell(f"compiled code in {path} is compiled again ({kept.reason(error)})")
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        try:
            super().save_overload(sig, data)
        except Exception as error:
            kept.tell_not_kept(Path(self.cache_path), error, _ADVICE)


class _Files:
    """One file a key: what it is of, and the compiled code."""

    def __init__(self, folder: Path, base: str, marks: tuple[str, ...]):
        self._folder, self._base, self._marks = folder, base, marks

    def load(self, key: Any) -> Any:
        """What was saved of `key`; None where nothing was, or of other sources."""
        content = kept.read(self.path(key))
        if content is None:
            return None
        marks, saved_key, data = pickle.loads(content)
        if marks != self._marks or pickle.loads(saved_key) != key:
            return None
        return pickle.loads(data)

    def save(self, key: Any, data: Any) -> None:
        """Keep `data`, in place of what was kept of `key`."""
        content = pickle.dumps((self._marks, dumps(key), dumps(data)))
        kept.write(self.path(key), content, _ADVICE)

    def flush(self) -> None:
        """Remove what is kept of the function."""
        for path in self._folder.glob(f"{self._base}.*.nbc"):
            path.unlink(missing_ok=True)

    def path(self, key: Any) -> Path:
        """Where it is kept."""
        name = hashlib.sha256(repr(key).encode()).hexdigest()[:16]
        return self._folder / f"{self._base}.{name}.nbc"

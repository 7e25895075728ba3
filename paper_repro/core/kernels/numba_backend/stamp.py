"""How this package is compiled, and compiled code on disk tied to the sources it was inlined from.

A cache looks at the file of the cached function alone; after a change to, say, `lanes.py` it would
go on running the old code of `forward.py`. Cached functions of this package are therefore stamped
with a digest of all its sources.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
from pathlib import Path

from paper_repro.core.machine.compiled import compiled

OPTIONS = {"nogil": True, "_nrt": False}
"""Of `njit`, for everything here. Nothing allocates, so arrays need no reference counts, which cost
an atomic operation each time one is taken out of a tuple."""


@functools.cache
def sources_digest() -> str:
    """SHA-256 of the sources of this package, of the activations and of the lanes."""
    here = Path(__file__).parent
    kernels, digest = here.parent, hashlib.sha256()
    folders = [here, kernels / "activations"]
    sources = [path for folder in folders for path in sorted(folder.glob("*.py"))]
    for path in [*sources, kernels / "lanes.py"]:
        with contextlib.suppress(OSError):
            digest.update(path.read_bytes())
    return digest.hexdigest()


cached = compiled(sources_digest(), **OPTIONS)
"""The decorator of what is called from outside of compiled code, kept for exactly these sources."""

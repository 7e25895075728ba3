"""One KIP step with the ConvNet kernel, beside the same step with neural-tangents' kernel.

Both are the step that training runs (float64 KRR adjoint, kernel pullbacks block by block, Adam)
and differ in the kernel backend alone. neural-tangents gets fewer targets, since its step at
the full batch would take most of an hour; times are also given per pair of images.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from paper_repro.core import lazy

if TYPE_CHECKING:
    from paper_repro.core.methods import problem as problems
    from paper_repro.core.methods.kip import batches as kip_batches
    from paper_repro.core.methods.kip import state as kip_state
else:
    kip_batches = lazy.module("paper_repro.core.methods.kip.batches")
    kip_state = lazy.module("paper_repro.core.methods.kip.state")
    problems = lazy.module("paper_repro.core.methods.problem")

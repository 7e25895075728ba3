"""One KIP step with the FC1 kernel, beside the same step through neural-tangents' kernel.

The peer differentiates the whole KRR loss through neural-tangents' `kernel_fn` under `jit`, in
float32 with a float32 solve, and updates by the same Adam: what one would write with that
library. Ours is the step that training runs: float64 KRR adjoint, kernel pullbacks, Adam. Both
draw their batch from the same preprocessed images on the device.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from paper_repro.core import lazy

if TYPE_CHECKING:
    from paper_repro.core.kernels import neural_tangents
    from paper_repro.core.methods import problem as problems
    from paper_repro.core.methods.kip import batches as kip_batches
    from paper_repro.core.methods.kip import state as kip_state
else:
    neural_tangents = lazy.module("paper_repro.core.kernels.neural_tangents")
    kip_batches = lazy.module("paper_repro.core.methods.kip.batches")
    kip_state = lazy.module("paper_repro.core.methods.kip.state")
    problems = lazy.module("paper_repro.core.methods.problem")

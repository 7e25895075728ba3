"""Random flips and shifts of the support images while a finite network trains on them.

The supports are kernel inputs (whitened or standardised), not raw pixels, so that the maps of
`preprocess.augment` do not apply: they work before preprocessing. The paper says only that
data augmentation may be used in the transfer; this choice is ours. Whitening is nearly
translation-invariant; what a shift lays bare repeats the pixels at the edge, since zero is the
background of whitened images but not of standardised ones.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from paper_repro.core.errors import UserError
from paper_repro.core.kernels.prepared import Array


@dataclasses.dataclass(frozen=True)
class SupportAugmentation:
    """Ranges of the random maps, drawn anew for every image of every step.

    Attributes:
      shift: whole pixels, each axis uniform in -shift..shift.
      flip: mirror half of the images left to right; ignored for one channel.
    """

    shift: int = 3
    flip: bool = True

    def __post_init__(self):
        if self.shift < 0:
            raise UserError(f"the shift of an augmentation must not be negative, got {self.shift}")

    def apply(self, x: Array, key: Array) -> Array:
        """Changed copies of kernel inputs (n, H, W, C), on the device."""
        shift_key, flip_key = jax.random.split(key)
        n, height, width, channels = x.shape
        if self.flip and channels == 3:
            mirrored = jax.random.bernoulli(flip_key, 0.5, (n, 1, 1, 1))
            x = jnp.where(mirrored, x[:, :, ::-1], x)
        if self.shift:
            reach = self.shift
            padded = jnp.pad(x, ((0, 0), (reach, reach), (reach, reach), (0, 0)), mode="edge")
            corners = jax.random.randint(shift_key, (n, 2), 0, 2 * reach + 1)

            def crop(image, corner):
                start = (corner[0], corner[1], 0)
                return jax.lax.dynamic_slice(image, start, (height, width, channels))

            x = jax.vmap(crop)(padded, corners)
        return x

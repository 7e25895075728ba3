"""A finite network with the layers of an `Architecture`, in plain JAX."""

from __future__ import annotations

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp

from paper_repro.core.errors import UserError
from paper_repro.core.kernels.activations import Activation
from paper_repro.core.kernels.architecture import (
    Architecture,
    AvgPool,
    Conv,
    Dense,
    Flatten,
    GlobalAvgPool,
)
from paper_repro.core.kernels.prepared import Array

Parameters = list[dict[str, Array]]
"""One dict per layer with weights, in order: `w` and `b`, float32."""


@dataclasses.dataclass(frozen=True)
class Network:
    """A network of given width.

    Attributes:
      architecture: its layers; the last one is the readout.
      width: channels of a convolution, units of a hidden dense layer.
      n_classes: outputs of the readout.
      parameterisation: `standard` draws W with standard deviation W_std / sqrt(fan_in);
        `ntk` draws it with 1 and multiplies by that in the forward pass. Both start as the same
        distribution of functions and train differently (arXiv 2001.07301).
    """

    architecture: Architecture
    width: int
    n_classes: int
    parameterisation: Literal["standard", "ntk"] = "standard"

    @property
    def is_convolutional(self) -> bool:
        """Whether any layer is a convolution."""
        return any(isinstance(layer, Conv) for layer in self.architecture.layers)

    def init(self, key: Array, image_shape: tuple[int, int, int]) -> Parameters:
        """Random parameters for images (H, W, C)."""
        if self.width < 1:
            raise UserError(f"a network needs a positive width, not {self.width}")
        shape = tuple(image_shape)
        n_weighted = sum(isinstance(x, Conv | Dense) for x in self.architecture.layers)
        keys = iter(jax.random.split(key, 2 * n_weighted))
        parameters = []
        for layer in self.architecture.layers:
            if isinstance(layer, Conv | Dense):
                fan_out = self.n_classes if len(parameters) == n_weighted - 1 else self.width
                kernel = (3, 3, shape[-1]) if isinstance(layer, Conv) else (shape[-1],)
                parameters.append(self._draw(next(keys), next(keys), kernel, fan_out))
                shape = (*shape[:-1], fan_out)
            elif isinstance(layer, AvgPool):
                shape = (shape[0] // 2, shape[1] // 2, shape[2])
                if 0 in shape:
                    raise UserError(
                        f"images {image_shape} are too small for the pools of "
                        f"{self.architecture.name}"
                    )
            elif isinstance(layer, Flatten):
                shape = (shape[0] * shape[1] * shape[2],)
            elif isinstance(layer, GlobalAvgPool):
                shape = shape[-1:]
        return parameters

    def apply(self, parameters: Parameters, x: Array) -> Array:
        """Outputs (n, n_classes) for kernel inputs x (n, H, W, C)."""
        remaining = iter(parameters)
        for layer in self.architecture.layers:
            match layer:
                case Conv():
                    w, b = self._scaled(next(remaining))
                    x = b + _convolution(x, w)
                case Dense():
                    w, b = self._scaled(next(remaining))
                    x = x @ w + b
                case Activation():
                    x = layer.value(x)
                case AvgPool():
                    n, height, width, channels = x.shape
                    x = x[:, : height // 2 * 2, : width // 2 * 2]
                    x = x.reshape(n, height // 2, 2, width // 2, 2, channels).mean((2, 4))
                case Flatten():
                    x = x.reshape(len(x), -1)
                case GlobalAvgPool():
                    x = x.mean((1, 2))
        return x

    def _draw(self, w_key: Array, b_key: Array, kernel: tuple[int, ...], fan_out: int):
        w = jax.random.normal(w_key, (*kernel, fan_out), jnp.float32)
        b = jax.random.normal(b_key, (fan_out,), jnp.float32)
        if self.parameterisation == "standard":
            w, b = w * self._w_scale(w), b * self.architecture.b_std
        return {"w": w, "b": b}

    def _scaled(self, layer: dict[str, Array]) -> tuple[Array, Array]:
        w, b = layer["w"], layer["b"]
        if self.parameterisation == "ntk":
            w, b = w * self._w_scale(w), b * self.architecture.b_std
        return w, b

    def _w_scale(self, w: Array) -> float:
        return self.architecture.w_std * (w.size // w.shape[-1]) ** -0.5


def _convolution(x: Array, w: Array) -> Array:
    """Images (n, H, W, C) with a filter (3, 3, C, D), stride 1, zero padding: (n, H, W, D)."""
    dimensions = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=dimensions)


def squared_norm(parameters: Parameters) -> Array:
    """|theta|^2 over all weights and biases."""
    return sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(parameters))

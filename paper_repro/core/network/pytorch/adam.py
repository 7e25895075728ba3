"""Adam on named tensors, with a state that a checkpoint holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

_MOMENTS = ("step", "exp_avg", "exp_avg_sq")


class NamedAdam:
    """Adam (arXiv 1412.6980) that moves tensors in place by gradients that are given.

    Args:
      name: the beginning of the names in the state.
      tensors: what is moved, by name; parameters or leaves that require gradients.
      learning_rate: the step size.
      betas: decay of the two moments.

    Example:
      >>> x = torch.zeros(2, requires_grad=True)
      >>> adam = NamedAdam("of x", {"x": x}, learning_rate=0.1)
      >>> adam.step([torch.tensor([3.0, -5.0])])
      >>> [round(float(value), 4) for value in x.detach()]
      [-0.1, 0.1]
      >>> sorted(adam.state())
      ['of x.exp_avg.x', 'of x.exp_avg_sq.x', 'of x.step.x', 'of x.value.x']
    """

    def __init__(
        self,
        name: str,
        tensors: Mapping[str, torch.Tensor],
        learning_rate: float,
        betas: tuple[float, float] = (0.9, 0.999),
    ):
        self.tensors, self._name = dict(tensors), name
        self._optimizer = torch.optim.Adam(self.tensors.values(), learning_rate, betas)

    def step(self, slopes: Sequence[torch.Tensor], learning_rate: float | None = None) -> None:
        """Move each tensor by its gradient, at this rate from now on if one is given."""
        for group in self._optimizer.param_groups if learning_rate is not None else ():
            group["lr"] = learning_rate
        for tensor, slope in zip(self.tensors.values(), slopes, strict=True):
            tensor.grad = slope.detach()
        self._optimizer.step()
        self._optimizer.zero_grad()

    def state(self) -> dict[str, np.ndarray]:
        """The tensors and their moments."""
        found = {}
        for name, tensor in self.tensors.items():
            own = {"value": tensor, **self._optimizer.state[tensor]}
            for kind in ("value", *_MOMENTS):
                if kind in own:
                    found[f"{self._name}.{kind}.{name}"] = own[kind].detach().cpu().numpy().copy()
        return found

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Go on from a `state`, which may hold more."""
        for name, tensor in self.tensors.items():
            kept = {
                kind: torch.from_numpy(np.array(state[key]))
                for kind in ("value", *_MOMENTS)
                if (key := f"{self._name}.{kind}.{name}") in state
            }
            tensor.data.copy_(kept.pop("value"))
            if kept:
                moments = {k: v if k == "step" else v.to(tensor.device) for k, v in kept.items()}
                self._optimizer.state[tensor] = moments

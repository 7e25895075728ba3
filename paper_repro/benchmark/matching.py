"""Seconds of DC and DSA, of their evaluation, and of its networks beside a plain PyTorch loop.

The peer trains the same ConvNet on the same images as one would write it: a `nn.Module`,
`loss.backward()` and `optim.SGD`. Several networks at once, by `torch.func` over stacked
parameters, are timed as well: on a CPU they gain nothing for the ConvNet, so that the evaluation
trains one after the other.
"""

from __future__ import annotations

import dataclasses
import json as json_module
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from paper_repro.benchmark.measure import in_turn
from paper_repro.core import lazy
from paper_repro.core.errors import UserError
from paper_repro.core.methods.gradient_matching import MatchingConfig
from paper_repro.core.methods.problem import Problem
from paper_repro.core.network.pytorch.spec import Evaluation, NetworkSpec, require_torch
from paper_repro.core.preprocess.standard import Standard
from paper_repro.core.store.provenance import available_cores, provenance

if TYPE_CHECKING:
    import torch

    from paper_repro.core.methods.gradient_matching import matching as loop
    from paper_repro.core.network.pytorch import networks, training
else:
    torch = lazy.module("torch")
    loop = lazy.module("paper_repro.core.methods.gradient_matching.matching")
    networks = lazy.module("paper_repro.core.network.pytorch.networks")
    training = lazy.module("paper_repro.core.network.pytorch.training")


def matching(
    side: int = 32,
    channels: int = 3,
    real_batch: int = 32,
    batch: int = 10,
    together: int = 5,
    repeats: int = 3,
    width: int = 128,
    json: bool = False,
) -> None:
    """Time iterations of DC and DSA, and training of the evaluation's networks.

    Examples:
        python -m paper_repro.benchmark matching
        python -m paper_repro.benchmark matching --side 28 --channels 1 --real-batch 256

    Args:
        side: side of the images in pixels.
        channels: channels of the images.
        real_batch: natural images a class in a matching step.
        batch: images of the set, one a class.
        together: networks under vmap.
        repeats: iterations that are timed, and tens of steps of a network.
        width: channels of the ConvNet.
        json: print one JSON object instead of text.
    """
    if min(side, channels, real_batch, batch, together, repeats, width) < 1:
        raise UserError("sizes and numbers must be positive")
    require_torch()
    spec = NetworkSpec(width=width)
    problem = _problem(side, channels, real_batch)
    row: dict[str, Any] = {"side": side, "channels": channels, "real_batch": real_batch}
    for name, siamese in (("dc", False), ("dsa", True)):
        config = MatchingConfig(1, real_batch=real_batch, siamese=siamese, learner=spec)
        seconds = [loop.seconds_of_iteration(problem, config) for _ in range(repeats)]
        row[f"{name}_s_per_iteration"] = min(seconds)
    calls = _calls(spec, (side, side, channels), batch, together)
    timed = dict(zip(calls, in_turn(10 * repeats, *calls.values()), strict=True))
    row["images_per_s"] = batch / timed["ours"]
    row["peer_images_per_s"] = batch / timed["peer"]
    row["ratio"] = row["images_per_s"] / row["peer_images_per_s"]
    row["together_images_per_s"] = together * batch / timed["together"]
    row["evaluation_s"] = Evaluation().epochs * timed["ours"]
    row |= {"batch": batch, "together": together, "width": width, "threads": available_cores()}
    if json:
        found = provenance()
        versions = {**found["versions"], "torch": torch.__version__}
        row |= {"versions": versions, "hardware": found["hardware"]}
        print(json_module.dumps({"rows": [row]}))
        return
    size = f"{side}x{side}x{channels}"
    print(f"ConvNet, width {width}, {size}, float32, {row['threads']} threads")
    for name in ("dc", "dsa"):
        seconds = row[f"{name}_s_per_iteration"]
        print(
            f"  {name.upper():<4} {seconds:8.3f} s an iteration ({real_batch} natural images a "
            f"class); {1_000 * seconds / 60:.0f} min for 1,000"
        )
    print(f"  evaluation: {row['evaluation_s']:.1f} s a network (300 epochs of {batch} images)")
    print(f"  training: {row['images_per_s']:.0f} images/s, a plain loop")
    print(f"    {row['peer_images_per_s']:.0f}, ratio {row['ratio']:.2f}")
    print(f"  {together} networks under vmap: {row['together_images_per_s']:.0f} images/s")


def _problem(side: int, channels: int, real_batch: int) -> Problem:
    """Noise of ten classes with as many images as a step takes."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (10 * real_batch, side, side, channels), dtype=np.uint8)
    labels = np.arange(len(x)) % 10
    return Problem(x, labels, 10, Standard.fit(x))


def _calls(
    spec: NetworkSpec, shape: tuple[int, int, int], batch: int, together: int
) -> dict[str, Callable[[], Any]]:
    """An epoch of one batch: ours, a plain loop's, and that of several networks at once."""
    rng = np.random.default_rng(1)
    x = training.as_inputs(rng.standard_normal((batch, *shape), np.float32))
    targets = torch.arange(batch) % 10
    settings = dataclasses.replace(Evaluation(spec), batch=batch)
    ours = training.Training(settings, x, targets, 10, seed=0)
    peer = networks.build(spec, shape, 10, seed=0)
    sgd = torch.optim.SGD(peer.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)

    def plain() -> None:
        sgd.zero_grad()
        torch.nn.functional.cross_entropy(peer(x), targets).backward()
        sgd.step()

    several = [networks.build(spec, shape, 10, seed) for seed in range(together)]
    stacked, _ = torch.func.stack_module_state(several)
    stacked = {name: value.detach() for name, value in stacked.items()}

    def loss(parameters: dict[str, Any]) -> Any:
        out = torch.func.functional_call(several[0], parameters, (x,))
        return torch.nn.functional.cross_entropy(out, targets)

    slopes = torch.func.vmap(torch.func.grad(loss))
    return {"ours": ours.run_epoch, "peer": plain, "together": lambda: slopes(stacked)}

"""Throughput of the trainer of finite networks, beside the same network in PyTorch.

Both train the paper's ConvNet by SGD with momentum and weight decay on the same images, float32,
as many threads each as the process may use, in turns. The peer is what one would write with
PyTorch: `nn.Conv2d` in its default layout, `loss.backward()`, `optim.SGD`. Its cosine schedule is
left out, which costs nothing.
"""

from __future__ import annotations

import dataclasses
import json as json_module
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from paper_repro.core import lazy
from paper_repro.core.errors import UserError
from paper_repro.core.kernels.architecture import convnet
from paper_repro.core.machine.memory import keep_freed_memory
from paper_repro.core.store.provenance import available_cores, provenance

if TYPE_CHECKING:
    from paper_repro.core import network as finite
else:
    finite = lazy.module("paper_repro.core.network")


def transfer(
    width: int = 64,
    batch: int = 100,
    side: int = 32,
    channels: int = 3,
    steps: int = 5,
    repeats: int = 3,
    peer: bool = True,
    vmap: int = 0,
    json: bool = False,
) -> None:
    """Time updates of a finite ConvNet against the same in PyTorch.

    Examples:
        python -m paper_repro.benchmark transfer
        python -m paper_repro.benchmark transfer --batch 10 --steps 20 --json
        python -m paper_repro.benchmark transfer --no-peer --vmap 3 --batch 10

    Args:
        width: channels of the convolutions.
        batch: images per update.
        side: side of the images in pixels, a multiple of 8.
        channels: channels of the images.
        steps: updates in a timed turn.
        repeats: turns of each; the fastest counts.
        peer: time PyTorch too (`make torch` installs it).
        vmap: also time so many networks at once under vmap; 0 does not.
        json: print one JSON object instead of text.
    """
    if min(width, batch, channels, steps, repeats) < 1 or side < 8 or side % 8 or vmap < 0:
        raise UserError(
            "width, batch, channels, steps and repeats must be positive, side a multiple of 8"
        )
    row = measure(width, batch, (side, side, channels), steps, repeats, peer, vmap)
    if json:
        print(json_module.dumps({"rows": [row]}))
        return
    print(f"ConvNet, width {width}, batch {batch}, {side}x{side}x{channels}, float32")
    print(_line("one update", row["ms_per_step"], row["images_per_s"]))
    if vmap:
        print(_line(f"one of {vmap} under vmap", row["vmap_ms_per_step"], row["vmap_images_per_s"]))
    if peer:
        print(_line("with PyTorch", row["peer_ms_per_step"], row["peer_images_per_s"]))
        print(f"  throughput against PyTorch     {row['ratio']:.2f}")
        print(f"  largest difference of outputs  {row['max_rel_err']:.0e} relative")
    print(f"  {row['threads']} threads, {row['hardware']['cpu']}")


def _line(what: str, ms: float, images: float) -> str:
    return f"  {what:<24} {ms:10.1f} ms {images:10.0f} images/s"


def measure(
    width: int,
    batch: int,
    shape: tuple[int, int, int],
    steps: int,
    repeats: int,
    peer: bool,
    vmap: int,
) -> dict[str, Any]:
    """The row that `transfer` prints; seconds of the wall clock and of the processors."""
    torch = _torch() if peer else None

    import jax
    import numpy as np

    keep_freed_memory()
    network = finite.Network(convnet(), width, 10)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((batch, *shape), np.float32)
    y = rng.standard_normal((batch, 10), np.float32)
    parameters = jax.tree.map(np.asarray, network.init(jax.random.key(0), shape))
    calls = {"": _ours(network, parameters, x, y, steps)}
    if vmap:
        calls["vmap_"] = _together(network, x, y, steps, vmap)
    found = provenance()
    row = {"width": width, "batch": batch, "shape": "x".join(map(str, shape))}
    if torch is not None:
        model = _model(torch, shape, width, parameters)
        calls["peer_"] = _theirs(torch, model, x, y, steps)
        ours = np.asarray(network.apply(parameters, x))
        with torch.no_grad():
            theirs = model(torch.from_numpy(x.transpose(0, 3, 1, 2).copy())).numpy()
        row["max_rel_err"] = float(np.abs(ours - theirs).max() / np.abs(theirs).max())
        found["versions"]["torch"] = torch.__version__
    timed = _in_turn(repeats, calls)
    for name, (seconds, cpu) in timed.items():
        updates = steps * (vmap if name == "vmap_" else 1)
        row[f"{name}ms_per_step"] = 1e3 * seconds / updates
        row[f"{name}cpu_ms_per_step"] = 1e3 * cpu / updates
        row[f"{name}images_per_s"] = batch * updates / seconds
    if torch is not None:
        row["ratio"] = row["images_per_s"] / row["peer_images_per_s"]
    if vmap:
        row["vmap"] = vmap
    row |= {"backend": jax.default_backend(), "dtype": "float32", "threads": available_cores()}
    return row | {"versions": found["versions"], "hardware": found["hardware"]}


def _ours(network, parameters, x, y, steps: int) -> Callable[[], Any]:
    """The loop that `training.train` runs between two looks at the loss."""
    import jax
    import jax.numpy as jnp

    updates = _updates(network, x, y)
    state = jax.tree.map(jnp.array, (parameters, updates.optimizer.init(parameters)))

    def call():
        nonlocal state
        *state, loss = updates.run(*state, range(steps))
        return jax.block_until_ready(loss)

    return call


def _together(network, x, y, steps: int, count: int) -> Callable[[], Any]:
    """Updates of `count` networks at once, for comparison: the trainer does not do this."""
    import jax

    updates = _updates(network, x, y)
    keys = jax.random.split(jax.random.key(0), count)
    parameters = jax.vmap(lambda key: network.init(key, x.shape[1:]))(keys)
    optimizer = jax.vmap(updates.optimizer.init)(parameters)

    @finite.training.compiled
    def update(parameters, optimizer, keys, number):
        def one(parameters, optimizer, key):
            of_key = dataclasses.replace(updates, key=key)
            return of_key.update(parameters, optimizer, number)

        return jax.vmap(one)(parameters, optimizer, keys)

    state = parameters, optimizer

    def call():
        nonlocal state
        for number in range(steps):
            *state, loss = update(*state, keys, number)
        return jax.block_until_ready(loss)

    return call


def _updates(network, x, y):
    import jax
    import jax.numpy as jnp

    config = finite.TrainingConfig(steps=1_000, batch=len(x), l2=0.0)
    arrays = jnp.asarray(x), jnp.asarray(y), jax.random.key(0)
    return finite.training.Updates(network, config, jnp.float32(1e-3), 1e-3, *arrays)


def _theirs(torch: Any, model: Any, x, y, steps: int) -> Callable[[], Any]:
    # A copy, so that the outputs are compared at the parameters of the start.
    import copy

    model = copy.deepcopy(model)
    images = torch.from_numpy(x.transpose(0, 3, 1, 2).copy())
    labels = torch.from_numpy(y)
    sgd = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9, weight_decay=1e-3)

    def call():
        for _ in range(steps):
            sgd.zero_grad()
            loss = 0.5 * torch.mean((model(images) - labels) ** 2)
            loss.backward()
            sgd.step()
        return loss.item()

    return call


def _model(torch: Any, shape: tuple[int, int, int], width: int, parameters: Any) -> Any:
    """The same network with the same parameters; Flatten orders (C, H, W), ours (H, W, C)."""
    nn, pooled = torch.nn, shape[0] // 8
    layers = [nn.Conv2d(shape[2], width, 3, padding=1), nn.ReLU()]
    for _ in range(3):
        layers += [nn.Conv2d(width, width, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2)]
    model = nn.Sequential(*layers, nn.Flatten(), nn.Linear(width * pooled**2, 10))
    weighted = [layer for layer in model if hasattr(layer, "weight")]
    with torch.no_grad():
        for layer, ours in zip(weighted, parameters, strict=True):
            w = ours["w"]
            if w.ndim == 4:
                w = w.transpose(3, 2, 0, 1)
            else:
                w = w.reshape(pooled, pooled, width, 10).transpose(3, 2, 0, 1).reshape(10, -1)
            layer.weight.copy_(torch.from_numpy(w.copy()))
            layer.bias.copy_(torch.from_numpy(ours["b"].copy()))
    return model


def _torch() -> Any:
    try:
        import torch
    except ImportError as error:
        raise UserError(
            "PyTorch is not installed: `make torch` adds it, or run with --no-peer"
        ) from error
    torch.set_num_threads(available_cores())
    return torch


def _in_turn(repeats: int, calls: dict[str, Callable[[], Any]]) -> dict[str, tuple[float, float]]:
    """Least seconds of wall clock and of processor time of each call, run alternately."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    for _ in range(repeats):
        for name, call in calls.items():
            wall, cpu = time.perf_counter(), time.process_time()
            call()
            found[name].append((time.perf_counter() - wall, time.process_time() - cpu))
    return {
        name: (min(w for w, _ in seconds), min(c for _, c in seconds))
        for name, seconds in found.items()
    }

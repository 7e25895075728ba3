"""The pool on Ray: one actor a core group or card, on this machine or on many.

The one module that imports `ray`, an extra. Images that are held are put into Ray's object store
once: a node fetches them when a worker there first reads them, and its workers share that copy. A
block sends its supports and row numbers, and gets its entries or one gradient back. Workers hold
nothing that cannot be fetched or computed again, so they may vanish at any time.
"""

from __future__ import annotations

import collections
import functools
import os
import time
import uuid
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator
from typing import Any, ClassVar

import numpy as np
import ray
from ray.exceptions import RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from paper_repro.core.data.notice import say
from paper_repro.core.errors import UserError
from paper_repro.core.kernels.pool.held import HeldImages
from paper_repro.core.kernels.pool.scheduling import Limits, Lost, Scheduler
from paper_repro.core.kernels.prepared import Prepared
from paper_repro.core.store.provenance import (
    available_cores,
    hardware,
    source_digest,
    versions,
)

COMPARED = ("python", "jax", "jaxlib", "numpy", "scipy", "numba", "paper_repro")
"""What decides the bits of a block; it is the same on every node."""

_LOOK_SECONDS = 1.0
"""Time between two looks at the nodes of the cluster."""


class RayPool:
    """Evaluates blocks on the workers of a Ray cluster.

    Args:
      address: `ray` for the cluster that RAY_ADDRESS names or that runs on this machine, else one
        of this machine that ends with the process; or `ray://HOST:PORT`, Ray's client port.
      workers: the most workers; None for as many as there is room for.
      cores: CPU cores of each.
      cards: accelerators of each.
      limits: how long to wait for workers, and for a block.

    Raises:
      UserError: no cluster at that address, or, with the first blocks, one whose nodes have other
        versions than this process.
    """

    shares_memory: ClassVar[bool] = False
    block_rows: ClassVar[None] = None

    def __init__(
        self,
        address: str = "ray",
        workers: int | None = None,
        cores: int = 1,
        cards: int = 0,
        limits: Limits = Limits(),
    ):
        _connect(address, (workers or 0) * cores)
        self.crew = _Actors(workers, cores, cards)
        self._scheduler = Scheduler(self.crew, limits)

    @property
    def status(self) -> str:
        """What progress says of it."""
        n, waiting = len(self.crew.ready), len(self._scheduler.flights)
        return f"{n} workers, {waiting} blocks in flight, {self._scheduler.repeated} repeated"

    @property
    def repeated(self) -> int:
        """Blocks that were done again, so far."""
        return self._scheduler.repeated

    def hold(self, images: Any) -> HeldImages:
        """See `Pool.hold`; `images` are prepared ones or an array."""
        return HeldImages.of(
            functools.partial(_fetched, uuid.uuid4().hex, ray.put(images)), images.shape
        )

    def map(self, work: Callable[..., Any], blocks: Iterable[tuple]) -> Iterator[Any]:
        """See `Pool.map`."""
        return self._scheduler.map(work, blocks)

    def close(self) -> None:
        """Stop the workers of this pool."""
        self.crew.close()


class Worker:
    """The actor: evaluates one block after another in a process of its own."""

    def facts(self) -> dict[str, Any]:
        """Where and what it is; made once, before its first block."""
        return {
            "pid": os.getpid(),
            "node": ray.util.get_node_ip_address(),
            "versions": versions(),
            "source": source_digest(),
            "hardware": hardware(),
        }

    def run(self, work: Callable[..., Any], places: list[int], *arguments: Any) -> Any:
        """`work` of the arguments at `places`; what comes twice is one object here, too."""
        arguments = [_own(x) for x in arguments]
        return work(*(arguments[place] for place in places))


class _Actors:
    """The crew of a scheduler: Ray actors, as many as the nodes have room for.

    Attributes:
      ready: facts of the workers that may be used.
      most: there are no more workers than this; None for no limit.
    """

    def __init__(self, most: int | None, cores: int, cards: int):
        self.ready: dict[Any, dict[str, Any]] = {}
        self.most, self._needs = most, {"CPU": cores, "GPU": cards}
        self._actor = ray.remote(num_cpus=cores, num_gpus=cards, max_restarts=0)(Worker)
        self._starting: dict[Any, tuple[Any, str]] = {}
        self._node_of: dict[Any, str] = {}
        self._refused: set[str] = set()
        self._first_nodes = {node["NodeID"] for node in _alive()}
        self._looked = float("-inf")
        self._processors: set[tuple] = set()
        self._shared: collections.OrderedDict[int, tuple[Any, Any]] = collections.OrderedDict()

    def workers(self) -> Collection[Hashable]:
        """See `Crew.workers`."""
        if time.monotonic() - self._looked > _LOOK_SECONDS:
            self._looked = time.monotonic()
            self._start_missing()
        return list(self.ready)

    def submit(self, worker: Any, work: Callable[..., Any], block: tuple) -> Hashable:
        """See `Crew.submit`."""
        distinct = {id(x): x for x in block}
        places = [list(distinct).index(id(x)) for x in block]
        return worker.run.remote(work, places, *map(self._sent, distinct.values()))

    def wait(self, tickets: Collection[Hashable], seconds: float) -> Collection[Hashable]:
        """See `Crew.wait`."""
        watched = [*tickets, *self._starting]
        if not watched:
            time.sleep(seconds)
            return []
        ended, _ = ray.wait(watched, num_returns=1, timeout=seconds)
        if ended:
            ended, _ = ray.wait(watched, num_returns=len(watched), timeout=0)
        for ref in ended:
            if ref in self._starting:
                self._admit(ref, *self._starting.pop(ref))
        return [ref for ref in ended if ref in tickets]

    def result(self, ticket: Any) -> Any:
        """See `Crew.result`."""
        try:
            found = ray.get(ticket)
        except RayTaskError as error:
            if isinstance(error.cause, RayError):
                raise Lost from error
            raise error.cause from None
        except RayError as error:
            raise Lost from error
        return np.array(found) if isinstance(found, np.ndarray) else found

    def discard(self, worker: Any) -> None:
        """See `Crew.discard`."""
        self.ready.pop(worker, None)
        self._node_of.pop(worker, None)
        ray.kill(worker)

    def close(self) -> None:
        """Stop all workers."""
        for actor in (*self.ready, *(actor for actor, _ in self._starting.values())):
            ray.kill(actor)
        self.ready.clear()
        self._starting.clear()

    def _sent(self, x: Any) -> Any:
        """`x` as it travels: prepared images, which many blocks have, once to a node."""
        if not isinstance(x, Prepared):
            return x
        if id(x) not in self._shared:
            self._shared[id(x)] = x, ray.put(x)
            if len(self._shared) > 64:
                self._shared.popitem(last=False)
        return self._shared[id(x)][1]

    def _start_missing(self) -> None:
        nodes = {node["NodeID"]: node["Resources"] for node in _alive()}
        nodes = {node: has for node, has in nodes.items() if node not in self._refused}
        # A worker of a node that has gone fails by itself, in `result` or `_admit`.
        placed = collections.Counter(self._node_of.values())
        placed.update(node for _, node in self._starting.values())
        most = float("inf") if self.most is None else self.most
        n_workers = sum(placed[node] for node in nodes)
        for node, has in nodes.items():
            room = min(int(has.get(name, 0) // n) for name, n in self._needs.items() if n)
            for _ in range(room - placed[node]):
                if n_workers >= most:
                    return
                strategy = NodeAffinitySchedulingStrategy(node, soft=False)
                actor = self._actor.options(scheduling_strategy=strategy).remote()
                self._starting[actor.facts.remote()] = actor, node
                n_workers += 1

    def _admit(self, ref: Any, actor: Any, node: str) -> None:
        """Take in a worker that has started, if its node has the same versions as this process."""
        try:
            facts = ray.get(ref)
        except RayError:
            return
        ours = {**versions(), "source": source_digest()}
        theirs = {**facts["versions"], "source": facts["source"]}
        other = [name for name in (*COMPARED, "source") if theirs[name] != ours[name]]
        if other:
            ray.kill(actor)
            self._refused.add(node)
            name = other[0]
            what = f"{name} {theirs[name]} where this machine has {ours[name]}"
            if name == "source":
                what = "another source of this project than this machine"
            message = (
                f"node {facts['node']} has {what}: install the same revision and "
                "requirements.lock on every node"
            )
            if node in self._first_nodes:
                raise UserError(message)
            say(f"{message}; it is not used")
            return
        self.ready[actor] = facts
        self._node_of[actor] = node
        self._processors.add((facts["hardware"]["simd"], facts["hardware"]["cpu"]))
        if len(self._processors) == 2:
            self._processors.add(())  # said once
            say(
                "note: the nodes have several types of processor, so the last bits of a result may "
                "depend on which of them computed a block"
            )


def _connect(address: str, cores: int) -> None:
    """Connect this process to a cluster, unless it is; its own one has at least so many cores."""
    if ray.is_initialized():
        return
    # A busy machine takes longer than Ray's own limit to start what a node consists of.
    os.environ.setdefault("RAY_agent_register_timeout_ms", "120000")
    quiet = {"log_to_driver": False, "logging_level": "ERROR", "configure_logging": True}
    if address != "ray":
        _init(address, quiet)
    elif where := os.environ.get("RAY_ADDRESS"):
        _init(where, quiet)
    else:
        try:
            ray.init(address="auto", **quiet)
        except ConnectionError:
            cores = max(cores, available_cores())
            ray.init(address="local", num_cpus=cores, include_dashboard=False, **quiet)


def _init(address: str, options: dict[str, Any]) -> None:
    try:
        ray.init(address=address, **options)
    except (ConnectionError, RuntimeError, ValueError, ImportError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"could not connect to a Ray cluster at {address} ({reason}): start one as "
            "docs/cluster.md says, or correct the address"
        ) from error


def _alive() -> list[dict[str, Any]]:
    return [node for node in ray.nodes() if node["Alive"]]


_HELD: collections.OrderedDict[str, Any] = collections.OrderedDict()
"""What this process has read of what is held."""


def _fetched(key: str, reference: Any) -> Any:
    """What is held under `key`: this process reads it once, from its node's memory."""
    if key not in _HELD:
        _HELD[key] = ray.get(reference)
        if len(_HELD) > 4:
            _HELD.popitem(last=False)
    return _HELD[key]


def _own(x: Any) -> Any:
    """`x` with arrays that may be written to; what Ray hands over is read-only.

    Code that is compiled for the one kind of array would be compiled once more for the other.
    """
    if isinstance(x, np.ndarray):
        return x if x.flags.writeable else x.copy()
    if isinstance(x, Prepared):
        return Prepared(_own(x.images), tuple(map(_own, x.features)), x.made_by)
    return x

"""Blocks over workers that may vanish: who does which, what is done again, when to give up.

A block is done again where its worker vanished, missed the block's deadline, or answered with NaN
or the wrong shape. It counts once: the first answer that is trusted is the block's, and all answers
have the same bits. How workers are reached is a `Crew`'s business.
"""

from __future__ import annotations

import collections
import dataclasses
import statistics
import time
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping
from typing import Any, Protocol

import numpy as np

from paper_repro.core.data.notice import say
from paper_repro.core.errors import UserError, WorkersGone


class Lost(Exception):
    """A worker vanished before it answered."""


class Crew(Protocol):
    """Workers, each of which does one block at a time."""

    def workers(self) -> Collection[Hashable]:
        """Those that are ready now; those that joined since the last call are among them."""

    def submit(self, worker: Hashable, work: Callable[..., Any], block: tuple) -> Hashable:
        """Have `worker` evaluate `work(*block)`; returns a ticket."""

    def wait(self, tickets: Collection[Hashable], seconds: float) -> Collection[Hashable]:
        """The tickets that have ended; waits at most so long for one, or for a worker to join."""

    def result(self, ticket: Hashable) -> Any:
        """What a ticket that has ended came to; raises `Lost`, or what the work has raised."""

    def discard(self, worker: Hashable) -> None:
        """Stop a worker that is not to be trusted."""


@dataclasses.dataclass(frozen=True)
class Limits:
    """How long to wait, in seconds, and how often to try.

    Attributes:
      first: for the first block of a kind on a worker, which compiles for it.
      least: for any other block, at least.
      factor: for any other block, so many times what the measured rate makes of it.
      absent: for a worker, where there is none.
      attempts: tries of one block.
    """

    first: float = 900.0
    least: float = 30.0
    factor: float = 10.0
    absent: float = 600.0
    attempts: int = 20


@dataclasses.dataclass
class _Block:
    """A block that has no trusted answer yet."""

    number: int
    arguments: tuple
    attempts: int = 0
    doubted: Any = None
    doubted_of: Hashable = None


@dataclasses.dataclass
class _Flight:
    """A block on a worker; `inbox` is that of the call of `map` which waits for it."""

    block: _Block
    worker: Hashable
    work: Callable[..., Any]
    kind: Hashable
    started: float
    deadline: float
    inbox: list[tuple[_Block, tuple | Exception | None]]


class Scheduler:
    """Gives blocks to the workers of a crew and their results back in the order of the blocks.

    Attributes:
      repeated: blocks that were done again, so far.
      flights: blocks on workers, by ticket.
    """

    def __init__(self, crew: Crew, limits: Limits = Limits()):
        self.repeated = 0
        self.flights: dict[Hashable, _Flight] = {}
        self._crew, self._limits = crew, limits
        self._rates: dict[Hashable, collections.deque[float]] = {}
        self._warm: set[tuple[Hashable, Hashable]] = set()
        self._alone_since: float | None = None

    def map(self, work: Callable[..., Any], blocks: Iterable[tuple]) -> Iterator[Any]:
        """`work(*block)` of every block, in their order.

        Raises:
          WorkersGone: for `Limits.absent` there was no worker.
          UserError: a block failed on as many workers as `Limits.attempts` allows.
        """
        blocks, inbox = enumerate(blocks), []
        again: collections.deque[_Block] = collections.deque()
        done: dict[int, Any] = {}
        drawn, given, is_all = 0, 0, False
        while not (is_all and given == drawn):
            for worker in self._idle():
                block = _taken(again, worker, len(self._crew.workers()))
                # What waits for an earlier block is kept in memory, so there is not much of it.
                if block is None and not is_all and len(done) < 4 + 2 * len(self.flights):
                    found = next(blocks, None)
                    is_all = found is None
                    if found is not None:
                        block, drawn = _Block(*found), drawn + 1
                if block is not None:
                    self._start(worker, work, block, inbox)
            self._collect()
            while inbox:
                block, answer = inbox.pop(0)
                if isinstance(answer, Exception):
                    raise answer
                if answer is None:
                    self.repeated += 1
                    again.append(block)
                else:
                    done[block.number] = answer[0]
            while given in done:
                given += 1
                yield done.pop(given - 1)

    def _idle(self) -> list[Hashable]:
        """Workers without a block; waits for one where there is none at all."""
        busy = {flight.worker for flight in self.flights.values()}
        workers = self._crew.workers()
        if workers or busy:
            if self._alone_since is not None:
                say(f"workers ready: {len(workers)}; going on")
            self._alone_since = None
            return [worker for worker in workers if worker not in busy]
        now, limit = time.monotonic(), self._limits.absent
        if self._alone_since is None:
            self._alone_since = now
            say(f"no worker is ready: waiting up to {_spoken(limit)} for one to join")
        if now - self._alone_since > limit:
            self._alone_since = None
            raise WorkersGone(
                f"no worker for {_spoken(limit)}: start some (docs/cluster.md); what was done is "
                "saved, and the same command goes on from there"
            )
        return []

    def _start(
        self, worker: Hashable, work: Callable[..., Any], block: _Block, inbox: list
    ) -> None:
        kind = _kind(work, block.arguments)
        rates, limits = self._rates.get(kind), self._limits
        seconds = limits.first
        if rates and (worker, kind) in self._warm:
            expected = statistics.median(rates) * _size(block.arguments)
            seconds = max(limits.least, limits.factor * expected)
        block.attempts += 1
        if block.attempts > limits.attempts:
            raise UserError(
                f"a block failed {limits.attempts} times on one worker after another: they may "
                "lack memory, or one kind of machine may be faulty"
            )
        ticket = self._crew.submit(worker, work, block.arguments)
        now = time.monotonic()
        self.flights[ticket] = _Flight(block, worker, work, kind, now, now + seconds, inbox)

    def _collect(self) -> None:
        """Wait for a block to end, and put what became of it into the inbox of its call.

        That is (result,), None where it is to be done again, or the exception of the work.
        """
        first = min((f.deadline for f in self.flights.values()), default=float("inf"))
        seconds = min(max(0.0, first - time.monotonic()), 0.5)
        for ticket in self._crew.wait(list(self.flights), seconds):
            flight = self.flights.pop(ticket)
            answer: tuple | Exception | None = None
            try:
                answer = self._judged(flight, self._crew.result(ticket))
            except Lost:
                self._crew.discard(flight.worker)
            except Exception as error:
                answer = error
            flight.inbox.append((flight.block, answer))
        now = time.monotonic()
        for ticket, flight in list(self.flights.items()):
            if now > flight.deadline:
                del self.flights[ticket]
                self._crew.discard(flight.worker)
                flight.inbox.append((flight.block, None))

    def _judged(self, flight: _Flight, result: Any) -> tuple | None:
        """(result,) where it is trusted.

        Two answers with the same NaN are: then it comes of the images, and the caller says so.
        """
        block = flight.block
        self._warm.add((flight.worker, flight.kind))
        rate = (time.monotonic() - flight.started) / _size(block.arguments)
        self._rates.setdefault(flight.kind, collections.deque(maxlen=32)).append(rate)
        shape_of = getattr(flight.work, "shape_of", None)
        if shape_of is not None and np.shape(result) != tuple(shape_of(*block.arguments)):
            self._crew.discard(flight.worker)
            return None
        if _is_finite(result):
            if block.doubted is not None and block.doubted_of != flight.worker:
                self._crew.discard(block.doubted_of)
            return (result,)
        if block.doubted is not None and _same(block.doubted, result):
            return (result,)
        block.doubted, block.doubted_of = result, flight.worker
        return None


def _taken(again: collections.deque[_Block], worker: Hashable, n_workers: int) -> _Block | None:
    """A block to do again that this worker has not spoilt, unless it is the only worker."""
    for place, block in enumerate(again):
        if block.doubted_of != worker or n_workers == 1:
            del again[place]
            return block
    return None


def _kind(work: Callable[..., Any], block: tuple) -> Hashable:
    """Blocks of one kind take times in proportion to their sizes."""
    images = [np.shape(x)[1:] if isinstance(x, np.ndarray) else x.shape[1:] for x in _arrays(block)]
    names = [x.definition for x in block if hasattr(x, "definition")]
    return work, *names, *images[:1]


def _size(block: tuple) -> int:
    """Pairs of images: rows of the first array times rows of the second."""
    rows = [len(x) for x in _arrays(block)[:2]]
    return max(1, int(np.prod(rows)))


def _arrays(block: tuple) -> list[Any]:
    return [x for x in block if len(getattr(x, "shape", ()))]


def _numbers(result: Any) -> list[np.ndarray]:
    values = result.values() if isinstance(result, Mapping) else [result]
    return [np.asarray(v) for v in values if isinstance(v, np.ndarray | float | np.floating)]


def _is_finite(result: Any) -> bool:
    return all(np.isfinite(x).all() for x in _numbers(result) if x.dtype.kind == "f")


def _same(a: Any, b: Any) -> bool:
    pairs = zip(_numbers(a), _numbers(b), strict=True)
    return all(np.array_equal(x, y, equal_nan=True) for x, y in pairs)


def _spoken(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 60 else f"{seconds:.0f} s"

"""The KIP loop: resumable, evaluated and kept at the official steps, selected on validation."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from paper_repro.core.errors import UserError
from paper_repro.core.kernels.kernel import Kernel
from paper_repro.core.krr import Unsolvable
from paper_repro.core.methods.kip.batches import Batches, kernel_of, support_rows
from paper_repro.core.methods.kip.config import KIPConfig, evaluation_steps, official_steps
from paper_repro.core.methods.kip.log import Log
from paper_repro.core.methods.kip.state import (
    Diverged,
    State,
    advance,
    from_tensors,
    initial_state,
    kernel_at,
)
from paper_repro.core.methods.problem import Problem
from paper_repro.core.sets.learned_set import LearnedSet
from paper_repro.core.sets.scoring import score
from paper_repro.core.store import checkpoint
from paper_repro.core.store.files import sha256_of_array
from paper_repro.core.store.json_lines import Entry
from paper_repro.core.store.pytree import to_tensors
from paper_repro.core.store.row_schema import config_hash

CHECKPOINT_SECONDS = 30.0

Progress = Callable[[int, int, dict], None]
"""Called with (steps done, steps at most, latest metrics) after every step."""


@dataclasses.dataclass(frozen=True, eq=False)
class KIPResult:
    """The selected checkpoint of a finished run.

    Attributes:
      step: the official step that was selected.
      x_support: float32 (n_support, H, W, C), kernel inputs.
      y_support: float32 (n_support, n_classes).
      parameters: learned kernel parameters at that step.
      metrics: what was measured there: validation_*, test_*.
      steps_run: updates done when the run ended.
      converged: the validation loss was flat, rather than the steps used up.
      seconds: wall-clock of all sessions of the run together.
      trajectory: what was measured at each official step, in order: step, test_*, validation_*.
    """

    step: int
    x_support: np.ndarray
    y_support: np.ndarray
    parameters: dict[str, float]
    metrics: dict
    steps_run: int
    converged: bool
    seconds: float
    trajectory: list[dict]


def run(
    problem: Problem,
    kernel: Kernel,
    config: KIPConfig,
    seed: int,
    directory: Path,
    run_hash: str = "",
    progress: Progress | None = None,
    test_share: float | None = None,
    alternatives: Sequence[Kernel] = (),
) -> KIPResult:
    """Train a support set, or go on where an interrupted call in the same directory stopped.

    A resumed run ends in the same bytes as an uninterrupted one on the same machine: every batch
    depends on (seed, step) alone and the whole optimiser state is kept.

    Args:
      problem: targets, transform and held-out sets; `problem.validation` is needed for patience.
      kernel: between images.
      config: of the run.
      seed: of supports, batches and augmentation.
      directory: of this run alone: metrics.jsonl (scores at official steps), losses.jsonl
        (training loss of the support before the update, at every saved state),
        support_*.safetensors, state*.safetensors.
      run_hash: what else identifies the run; a directory with another hash, configuration, seed,
        kernel or data is refused.
      progress: see `Progress`; not called for steps that an earlier call did.
      test_share: see `evaluation_steps`; supports are kept at every official step all the same.
      alternatives: kernels of which every step draws one for its update, in place of `kernel`
        (arXiv 2107.13034, section 3.1, random architectures); scores always use `kernel`.

    Raises:
      UserError: patience without a validation set, a directory of another run, or one whose
        states or metrics were damaged beyond what can be made good.
      Diverged: a loss that is not finite, or a support kernel that is not positive definite; the
        directory keeps everything up to there.
    """
    if config.patience is not None and problem.validation is None:
        raise UserError("patience needs a validation set: hold out part of the training images")
    log, losses = Log(directory / "metrics.jsonl"), Log(directory / "losses.jsonl")
    rolling = checkpoint.Rolling(directory)
    state = initial_state(problem, kernel, config, seed)
    identity = _identity(problem, [kernel, *alternatives], config, seed)
    before = 0.0
    if (kept := rolling.load()) is not None:
        # States of earlier releases do not say what they are of.
        same = kept.metadata.get("identity", identity) == identity
        if kept.metadata.get("run_hash", "") != run_hash or not same:
            raise UserError(f"{directory} holds another run: choose another --out or delete it")
        state = from_tensors(kept.tensors, state)
        before = float(kept.metadata["seconds"])
    keep = set(official_steps(config.steps))
    n_test = len(problem.test.y) if problem.test is not None else 1
    measured = set(evaluation_steps(config, len(state.x_support), n_test, test_share))
    log.require({step for step in measured if step < state.step})
    log.drop_after(state.step)
    losses.drop_after(state.step - 1)
    latest: Entry | None = None
    started = time.monotonic()

    def seconds() -> float:
        return before + time.monotonic() - started

    def save(state: State) -> None:
        if latest is not None and not losses.has(latest["step"]):
            losses.append(latest)
        rolling.save(
            to_tensors(state),
            {"run_hash": run_hash, "identity": identity, "seconds": f"{seconds():.1f}"},
        )

    if alternatives and kernel.parameters:
        raise UserError("a kernel with learned parameters cannot be drawn anew every step")
    batches = Batches(problem, kernel, config, seed)
    last_saved = time.monotonic()
    try:
        while True:
            if state.step in keep:
                _keep_support(directory, state, run_hash)
            if state.step in measured and not log.has(state.step):
                log.append(_measure(problem, kernel, state, config, seconds()))
                save(state)
                last_saved = time.monotonic()
            flat = config.patience is not None and _is_flat(log.entries, config)
            if state.step >= config.steps or flat:
                break
            kernel_fn = kernel_of(state.step, seed, kernel, alternatives)
            rows = support_rows(state.step, seed, config, problem.n_classes)
            before_update = state.step
            state, loss = advance(kernel_fn, state, *batches(state.step, kernel_fn), config, rows)
            latest = {"step": before_update, "loss": float(loss), "seconds": round(seconds(), 1)}
            if progress is not None:
                progress(state.step, config.steps, {"loss": loss, **log.latest()})
            if time.monotonic() - last_saved > CHECKPOINT_SECONDS:
                save(state)
                last_saved = time.monotonic()
    except KeyboardInterrupt:
        save(state)
        raise
    selected = _select(log.entries, config)
    trajectory = [
        {k: v for k, v in entry.items() if k not in ("seconds", "parameters")}
        for entry in log.entries
    ]
    support = checkpoint.load(support_path(directory, selected["step"]))
    return KIPResult(
        step=selected["step"],
        x_support=support.tensors["images"],
        y_support=support.tensors["labels"],
        parameters=selected["parameters"],
        metrics={k: v for k, v in selected.items() if k not in ("step", "parameters", "seconds")},
        steps_run=state.step,
        converged=flat,
        seconds=seconds(),
        trajectory=trajectory,
    )


def _identity(problem: Problem, kernels: Sequence[Kernel], config: KIPConfig, seed: int) -> str:
    """A digest of what decides the bits of a run, but for the last bits of a fitted ZCA."""
    fitted = problem.transform.tensors
    held_out = [s.y for s in (problem.validation, problem.test) if s is not None]
    arrays = (problem.x_target, problem.labels, fitted["mean"], fitted["std"], *held_out)
    return config_hash(
        {
            "config": dataclasses.asdict(config),
            "of": seed,
            "kernels": [[k.definition, dict(k.parameters)] for k in kernels],
            "data": [sha256_of_array(np.ascontiguousarray(a)) for a in arrays],
            "transform": problem.transform.settings,
        }
    )


def _measure(problem, kernel, state, config, seconds) -> dict:
    """Metrics of the support at an official step; the test ones never enter a decision."""
    kernel = kernel_at(kernel, state)
    entry = {
        "step": state.step,
        "seconds": round(seconds, 1),
        "parameters": dict(kernel.parameters),
    }
    for name, held_out in (("validation", problem.validation), ("test", problem.test)):
        if held_out is not None:
            try:
                learned = LearnedSet.of(state.x_support, state.y_support)
                found = score(learned, held_out, kernel, config.diag_reg)
            except Unsolvable as error:
                raise Diverged(f"step {state.step}: {error}") from error
            entry |= {f"{name}_accuracy": found.accuracy, f"{name}_mse": found.mse}
    return entry


def _is_flat(entries: list[dict], config: KIPConfig) -> bool:
    """No relative improvement of the best validation loss by `flat` within `patience` steps."""
    now = entries[-1]["step"]
    earlier = [e["validation_mse"] for e in entries if e["step"] <= now - config.patience]
    recent = [e["validation_mse"] for e in entries if e["step"] > now - config.patience]
    return bool(earlier) and min(recent) > (1 - config.flat) * min(earlier)


def _select(entries: list[dict], config: KIPConfig) -> dict:
    if config.patience is None:
        return entries[-1]
    return min(entries, key=lambda entry: entry["validation_mse"])


def support_path(directory: Path, step: int) -> Path:
    """Where a run keeps the support of an official step: tensors `images` and `labels`."""
    return directory / f"support_{step:06d}.safetensors"


def _keep_support(directory: Path, state: State, run_hash: str) -> None:
    tensors = {"images": np.asarray(state.x_support), "labels": np.asarray(state.y_support)}
    path = support_path(directory, state.step)
    checkpoint.save(path, tensors, {"run_hash": run_hash, "step": str(state.step)})

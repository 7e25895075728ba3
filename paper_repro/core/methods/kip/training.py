"""The KIP loop: resumable, evaluated and kept at the official steps, selected on validation."""

from __future__ import annotations

import dataclasses
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np

from paper_repro.core.data.notice import say
from paper_repro.core.errors import Diverged, UserError, WorkersGone
from paper_repro.core.krr import Unsolvable
from paper_repro.core.labels import ClassBalancedSampler
from paper_repro.core.methods.kip.batches import Batches, kernel_of, support_rows
from paper_repro.core.methods.kip.config import KIPConfig, evaluation_steps, official_steps
from paper_repro.core.methods.kip.log import METRICS, Log, solved_path, support_path
from paper_repro.core.methods.kip.state import (
    State,
    advance,
    from_tensors,
    initial_state,
    kernel_at,
)
from paper_repro.core.methods.label_solve import label_solve
from paper_repro.core.methods.method import Progress
from paper_repro.core.methods.problem import Problem
from paper_repro.core.random import Purpose, generator
from paper_repro.core.sets.learned_set import LearnedSet
from paper_repro.core.sets.scoring import score
from paper_repro.core.store import checkpoint
from paper_repro.core.store.checkpoint import Resume
from paper_repro.core.store.files import sha256_of_array
from paper_repro.core.store.json_lines import Entry
from paper_repro.core.store.pytree import to_tensors

PAPER_TARGET_BATCH = 5_000
"""Targets of a KIP step in the papers."""


def run(
    problem: Problem,
    config: KIPConfig,
    seed: int,
    directory: Path,
    progress: Progress | None = None,
) -> LearnedSet:
    """Train a support set, or go on where an interrupted call in the same directory stopped.

    A resumed run ends in the same bytes as an uninterrupted one on the same machine: every batch
    depends on (seed, step) alone and the whole optimiser state is kept.

    Args:
      problem: targets, transform, kernel and held-out sets; patience needs a validation set.
      config: KIP settings.
      seed: decides supports, batches and augmentation.
      directory: a directory of this run alone: metrics.jsonl (scores at official steps),
        losses.jsonl (training loss of the support before the update, at every saved state),
        support_*.safetensors, state*.safetensors.
      progress: see `Progress`; not called for steps that an earlier call did.

    Returns:
      The selected support, float32, images as kernel inputs. Its record has the official `step`
      that was selected, `seconds` of all sessions, `budget`, `metrics` (test_accuracy, test_mse,
      n_test of that step, if the problem has a test set) and in `extra` converged (the validation
      loss was flat, rather than the steps used up), steps_run, trajectory (what was measured at
      each official step), validation_* and, where the kernel has any, its learned `parameters`.

    Raises:
      UserError: patience without a validation set, a directory of another run, or one whose
        states or metrics were damaged beyond what can be made good.
      WorkersGone: the kernel's pool has no workers; the state is saved.
      Diverged: a loss that is not finite, or a support kernel that is not positive definite; the
        directory keeps everything up to there.
    """
    kernel = problem.kernel_fn
    if config.patience is not None and problem.validation is None:
        raise UserError("patience needs a validation set: hold out part of the training images")
    if problem.alternatives and kernel.parameters:
        raise UserError("a kernel with learned parameters cannot be drawn anew every step")
    if config.random_architectures and not problem.alternatives:
        raise UserError("random_architectures needs the kernels of them as problem.alternatives")
    log, losses = Log(directory / METRICS), Log(directory / "losses.jsonl")
    state = initial_state(problem, kernel, config, seed)
    resume = Resume(directory, problem.identity(config.settings, seed))
    if resume.found is not None:
        state = from_tensors(resume.found.tensors, state)
    n_test = len(problem.test.y) if problem.test is not None else 1
    measured = set(evaluation_steps(config, len(state.x_support), n_test))
    keep = {*official_steps(config.steps), *measured}
    log.require({step for step in measured if step < state.step})
    log.drop_after(state.step)
    losses.drop_after(state.step - 1)
    latest: Entry | None = None

    def save(state: State) -> None:
        if latest is not None and not losses.has(latest["step"]):
            losses.append(latest)
        resume.save(to_tensors(state))

    batches = Batches(problem, kernel, config, seed)
    try:
        while True:
            if state.step in keep:
                _keep_support(directory, state)
            if state.step in measured and not log.has(state.step):
                log.append(_measure(problem, kernel, state, config, resume.seconds))
                save(state)
            flat = config.patience is not None and _is_flat(log.entries, config)
            if state.step >= config.steps or flat:
                break
            kernel_fn = kernel_of(state.step, seed, kernel, problem.alternatives)
            rows = support_rows(state.step, seed, config, problem.n_classes)
            batch = batches(state.step, kernel_fn)
            advanced, loss = advance(kernel_fn, state, *batch, config, rows)
            entry = {"step": state.step, "loss": float(loss), "seconds": round(resume.seconds, 1)}
            # What an interrupt saves: replaced as one.
            state, latest = advanced, entry
            if progress is not None:
                progress(state.step, config.steps, {"loss": loss, **log.latest()})
            if resume.is_due:
                save(state)
    except (KeyboardInterrupt, WorkersGone):
        save(state)
        raise
    selected = _select(log.entries, config)
    support = checkpoint.load(support_path(directory, selected["step"])).tensors
    if config.final_labels is not None:
        support["labels"], solved = _solved(problem, config, selected, support["images"], directory)
        selected = {**selected, **solved}
    record = _record(problem, config, selected, log.entries, (state.step, flat, resume.seconds))
    return LearnedSet.of(support["images"], support["labels"], record)


def take_over(
    problem: Problem, config: KIPConfig, seed: int, earlier: Path, directory: Path
) -> None:
    """Let a run with a restart begin where its first cycle, run by itself, has ended.

    Nothing happens if the run has begun. If `earlier` has not got to the restart, that is said, and
    the run begins at step 0.

    Args:
      problem: the problem of both.
      config: of the run with the restart.
      seed: of both.
      earlier: the directory of the run of `config.first_cycle`; it stays as it is.
      directory: the directory of the run with the restart.

    Raises:
      UserError: `earlier` holds another run or damaged states alone.
    """
    if Resume(directory, problem.identity(config.settings, seed)).found is not None:
        return
    source = Resume(earlier, problem.identity(config.first_cycle.settings, seed))
    begun = initial_state(problem, problem.kernel_fn, config, seed)
    found = begun if source.found is None else from_tensors(source.found.tensors, begun)
    if found.step != config.restart_at:
        say(
            f"there is no finished run of {config.restart_at:,} steps with the same options to go "
            "on from: this one begins at step 0"
        )
        return
    say(f"this run goes on from the finished one of {config.restart_at:,} steps")
    directory.mkdir(parents=True, exist_ok=True)
    wanted = ("support_*.safetensors", "*.jsonl")
    for path in (path for pattern in wanted for path in earlier.glob(pattern)):
        if path != solved_path(earlier):
            shutil.copyfile(path, directory / path.name)
    # The state comes last: a run without one begins anew.
    identity = problem.identity(config.settings, seed)
    Resume(directory, identity, before=source.seconds).save(source.found.tensors)


def seconds_of_step(problem: Problem, config: KIPConfig) -> float:
    """Seconds of an update, the mean over at least one second, compilation apart.

    With so few targets as a step needs: to whiten all of a data set takes longer than the steps.
    """
    kernel = problem.kernel_fn
    needed = config.target_batch + config.images_per_class * problem.n_classes
    sampler = ClassBalancedSampler(problem.labels, problem.n_classes)
    rows = sampler.draw(needed, generator(0, Purpose.TARGETS))
    few = {"x_target": problem.x_target[rows], "labels": problem.labels[rows]}
    problem = dataclasses.replace(problem, **few)
    state, batches = initial_state(problem, kernel, config, 0), Batches(problem, kernel, config, 0)
    started, steps = 0.0, -1  # the first step compiles and is not counted
    while steps < 1 or time.perf_counter() - started < 1:
        if steps == 0:
            started = time.perf_counter()
        kernel_fn = kernel_of(state.step, 0, kernel, problem.alternatives)
        rows = support_rows(state.step, 0, config, problem.n_classes)
        state, _ = advance(kernel_fn, state, *batches(state.step, kernel_fn), config, rows)
        np.asarray(state.x_support)  # JAX returns before it is done
        steps += 1
    return (time.perf_counter() - started) / steps


def _record(
    problem: Problem,
    config: KIPConfig,
    selected: Entry,
    entries: list[Entry],
    ended: tuple[int, bool, float],
) -> dict[str, Any]:
    """The record of a finished run; `ended` has its steps, whether it converged, its seconds."""
    steps_run, converged, seconds = ended
    budget = {
        "steps": steps_run,
        "target_batch": min(config.target_batch, len(problem.labels)),
        "n_train": len(problem.labels),
    }
    for name in ("decay", "restart_at", "final_labels"):
        if getattr(config, name) is not None:
            budget[name] = getattr(config, name)
    if config.patience is not None:
        # A run that was to converge may have spent less than the papers, whatever its preset.
        small = config.target_batch < PAPER_TARGET_BATCH
        budget["reduced"] = not converged or small or problem.is_reduced
    metrics = {k: v for k, v in selected.items() if k.startswith("test_")}
    if metrics:
        metrics["n_test"] = len(problem.test.y)
    hidden = ("seconds", "parameters")
    extra = {
        "converged": converged,
        "steps_run": steps_run,
        "trajectory": [{k: v for k, v in e.items() if k not in hidden} for e in entries],
        **{k: v for k, v in selected.items() if k.startswith("validation_")},
    }
    if selected["parameters"]:
        extra["parameters"] = selected["parameters"]
    before = {"kip_steps": steps_run, **({"reduced": True} if budget.get("reduced") else {})}
    return {
        "step": selected["step"],
        "seconds": seconds,
        "budget": budget,
        "metrics": metrics,
        "extra": extra,
        "beside_network": {"support_step": selected["step"], "budget": before},
    }


def _solved(
    problem: Problem, config: KIPConfig, selected: Entry, images: np.ndarray, directory: Path
) -> tuple[np.ndarray, Entry]:
    """Labels of the selected images solved on all targets, and what the set then scores."""
    kernel = problem.kernel_fn
    if kernel.parameters:
        kernel = kernel.with_parameters(selected["parameters"])
    settings = {"labels": config.final_labels, "images": sha256_of_array(images)}
    resume = Resume(directory / "labels", problem.identity(settings, 0))
    labels = label_solve(
        kernel,
        images,
        problem.x_target,
        problem.y_target,
        problem.transform,
        config.diag_reg,
        resume=resume,
    ).astype(np.float32)
    step = {"step": str(selected["step"])}
    checkpoint.save(solved_path(directory), {"images": images, "labels": labels}, step)
    return labels, _scores(problem, kernel, LearnedSet.of(images, labels), config)


def _measure(problem, kernel, state, config, seconds) -> dict:
    """Metrics of the support at an official step; the test ones never enter a decision."""
    kernel = kernel_at(kernel, state)
    entry = {
        "step": state.step,
        "seconds": round(seconds, 1),
        "parameters": dict(kernel.parameters),
    }
    learned = LearnedSet.of(state.x_support, state.y_support)
    try:
        return entry | _scores(problem, kernel, learned, config)
    except Unsolvable as error:
        raise Diverged(f"step {state.step}: {error}") from error


def _scores(problem, kernel, learned, config) -> dict:
    """Accuracy and MSE of a set on the validation and the test images, where there are any."""
    found = {}
    for name, held_out in (("validation", problem.validation), ("test", problem.test)):
        if held_out is not None:
            scored = score(learned, held_out, kernel, config.diag_reg)
            found |= {f"{name}_accuracy": scored.accuracy, f"{name}_mse": scored.mse}
    return found


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


def _keep_support(directory: Path, state: State) -> None:
    tensors = {"images": np.asarray(state.x_support), "labels": np.asarray(state.y_support)}
    checkpoint.save(support_path(directory, state.step), tensors, {"step": str(state.step)})

"""`python -m release verify FOLDER`: everything that can be checked of a release, offline."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import tyro

from paper_repro.core.data import load_dataset
from paper_repro.core.data.npz import read_npz
from paper_repro.core.errors import UserError
from paper_repro.core.kernels.execution import Execution, ExecutionArguments
from paper_repro.core.preprocess import load
from paper_repro.core.sets import scoring
from release.card.check import check_card
from release.card.croissant import check_croissant
from release.format import layout
from release.format.arrays import from_checkpoints, from_release
from release.format.check_set import check_set
from release.format.manifest import Manifest, check_files, read_manifest
from release.format.records import as_learned, read_record


class ReleaseProblems(UserError):
    """A release folder that does not verify.

    Attributes:
      problems: one line each.
    """

    def __init__(self, folder: Path, problems: list[str]):
        self.problems = problems
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        super().__init__(f"{folder} does not verify, {count}: {'; '.join(problems)}")


def main(
    folder: Annotated[Path, tyro.conf.Positional],
    checkpoints: Path | None = None,
    score: bool = False,
    n_test: int | None = None,
    data_dir: Path | None = None,
    execution: ExecutionArguments = Execution(),
) -> None:
    """Check a release folder: files, rows, labels, transforms, previews, card, Croissant.

    Examples:
        python -m release verify build/release
        python -m release verify build/release --checkpoints checkpoints
        python -m release verify build/release --score --n-test 2000

    Args:
        folder: a folder that `build` wrote, or a download of the whole repository.
        checkpoints: the sets it was built from, to compare bit for bit.
        score: also evaluate every set again by KRR with the shipped transform; needs the data.
        n_test: score on so many of the test images; by default on those the record states.
        data_dir: directory with <name>.npz files or snapshots of the Hub's files.
        execution: how the kernels that score are computed.
    """
    try:
        names = verify(folder, checkpoints, score, n_test, data_dir, print, execution)
    except ReleaseProblems as found:
        for problem in found.problems:
            print(f"- {problem}")
        raise
    sets = "1 set" if len(names) == 1 else f"{len(names)} sets"
    print(f"{folder}: {sets} verified" + (", scores included" if score else ""))


def verify(
    folder: Path | str,
    checkpoints: Path | str | None = None,
    score: bool = False,
    n_test: int | None = None,
    data_dir: Path | None = None,
    report: Callable[[str], None] = lambda line: None,
    execution: Execution = Execution(),
) -> list[str]:
    """Check a release folder. Files whose size or SHA-256 is not the manifest's are never opened.

    Args:
      folder: the release.
      checkpoints: the exported sets it was built from, compared bit for bit.
      score: evaluate every set again by KRR.
      n_test: see `main`.
      data_dir: the directory of the data, see `load_dataset`; used by `score` alone.
      report: is told each score.
      execution: how the kernels that score are computed.

    Returns:
      The names of the sets.

    Raises:
      ReleaseProblems: with everything that is wrong.
      UserError: no such folder, or a wrong option.
    """
    folder = Path(folder)
    if n_test is not None and (n_test < 1 or not score):
        raise UserError("n_test must be at least 1 and comes with --score")
    try:
        manifest = read_manifest(folder)
    except UserError as error:
        raise ReleaseProblems(folder, [str(error)]) from error
    problems = check_files(folder, manifest)
    paths = {entry.path: entry for entry in manifest.files}
    names = layout.names(paths)
    # Damage is listed already; checks that depend on it would only repeat it.
    if not problems:
        records, problems = _read_records(folder, manifest, names)
        card = check_card(folder, records) if layout.CARD in paths else []
        # The card tells `datasets` which files to open: it does so only where the card is right.
        problems += card + _check_sets(folder, records, loadable=layout.CARD in paths and not card)
        problems += check_croissant(folder, manifest, records)
        if checkpoints is not None:
            problems += _against_checkpoints(folder, records, Path(checkpoints))
        if score and not problems:
            problems += _check_scores(folder, records, n_test, data_dir, report, execution)
    if problems:
        raise ReleaseProblems(folder, problems)
    return names


def _read_records(
    folder: Path, manifest: Manifest, names: list[str]
) -> tuple[dict[str, dict[str, Any]], list[str]]:
    listed = {entry.path for entry in manifest.files}
    problems = [] if names else [f"no set: the manifest lists nothing like {layout.record('NAME')}"]
    about_all = (
        *(layout.CARD, layout.GALLERY, layout.CITATION),
        *(layout.CROISSANT, layout.CROISSANT_LOCAL),
    )
    problems += [f"{path} is missing" for path in about_all if path not in listed]
    expected, records = set(about_all), {}
    for name in names:
        expected |= set(layout.files_of(name))
        problems += [f"{path} is missing" for path in layout.files_of(name) if path not in listed]
        try:
            record = read_record(folder, name)
        except UserError as error:
            problems.append(str(error))
            continue
        path = record["release"]["transform"]
        expected.add(path)
        if path not in listed:
            problems.append(f"{name}: its transform {path} is not in the release")
            continue
        if all(file in listed for file in layout.files_of(name)):
            records[name] = record
    if len(records) == len(names):
        problems += [f"{path} belongs to no set" for path in sorted(listed - expected)]
    return records, problems


def _check_sets(folder: Path, records: Mapping[str, dict[str, Any]], loadable: bool) -> list[str]:
    """What is wrong with the sets; each transform is loaded once, for all of its sets."""
    problems = []
    transforms = sorted({record["release"]["transform"] for record in records.values()})
    for path in transforms:
        try:
            transform = load(folder / path)
        except UserError as error:
            problems.append(str(error))
            transform = None
        for record in records.values():
            if record["release"]["transform"] == path:
                problems += check_set(folder, record, transform, loadable)
    return problems


def _against_checkpoints(
    folder: Path, records: Mapping[str, dict[str, Any]], checkpoints: Path
) -> list[str]:
    kept = {learned.name: learned for learned in from_checkpoints(checkpoints)}
    problems = [f"{name} is not in {checkpoints}" for name in records if name not in kept]
    problems += [f"{name} of {checkpoints} is not in the release" for name in kept.keys() - records]
    for name in records.keys() & kept.keys():
        arrays = read_npz(folder / layout.npz(name), ("images", "labels"))
        for key in arrays:
            if arrays[key].tobytes() != getattr(kept[name], key).tobytes():
                problems.append(f"{name}: the {key} are not those of {checkpoints}")
        if as_learned(records[name]) != kept[name].record:
            problems.append(f"{name}: its record is not that of {checkpoints}")
    return sorted(problems)


def _check_scores(
    folder: Path,
    records: Mapping[str, dict[str, Any]],
    n_test: int | None,
    data_dir: Path | None,
    report: Callable[[str], None],
    execution: Execution,
) -> list[str]:
    problems = []
    for name, record in records.items():
        data = load_dataset(record["dataset"], data_dir)
        if data.data_sha256 != record["data_sha256"]:
            problems.append(f"{name}: the data set {data.name} here is another one")
            continue
        stated = record["metrics"]
        transform = load(folder / record["release"]["transform"])
        rows = scoring.rows_to_score(stated["n_test"], n_test)
        learned = from_release(folder, record)
        found = scoring.score_by_record(learned, transform, data, rows, execution)
        allowed = scoring.tolerance(stated["test_accuracy"], stated["n_test"], found.n)
        line = (
            f"{name}: {100 * found.accuracy:.2f} % on {found.n:,} test images, stated "
            f"{100 * stated['test_accuracy']:.2f} % on {stated['n_test']:,}"
        )
        report(line)
        if abs(found.accuracy - stated["test_accuracy"]) > allowed:
            problems.append(f"{line}: further apart than {100 * allowed:.2f} points")
    return problems

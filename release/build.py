"""`python -m release build`: learned sets -> a folder ready for the Hub."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import tyro

from paper_repro.core.data.npz import write_npz
from paper_repro.core.errors import UserError
from paper_repro.core.preprocess import Transform, save
from paper_repro.core.preprocess.transform import digest
from paper_repro.core.sets.learned_set import LearnedSet
from paper_repro.core.sets.record import as_json, preprocessing
from paper_repro.core.store.files import atomic_folder, write_atomic
from release.card.card import card
from release.card.citation import citation_file
from release.card.croissant import croissant
from release.card.page import page
from release.card.tables import TransformFacts
from release.format import layout
from release.format.arrays import from_checkpoints, refuse_doubled
from release.format.given import NpzSets, from_npz
from release.format.manifest import make_manifest, read_manifest, unlisted, write_manifest
from release.format.pictures import draw
from release.format.publication import REPOSITORY, VERSION, Publication, publication
from release.format.rows import write_parquet
from release.format.transforms import transform_of

CHECKPOINTS = Path("checkpoints")


def main(
    out: Path,
    given: tyro.conf.OmitArgPrefixes[NpzSets] = NpzSets(),  # noqa: B008, frozen
    checkpoints: Path | None = None,
    transforms: Path | None = None,
    data_dir: Path | None = None,
    repo: str = REPOSITORY,
    license: str | None = None,
    version: str = VERSION,
    creator: str | None = None,
    base_url: str = "",
) -> None:
    """Build a release folder from learned sets.

    Examples:
        python -m release build --out build/release
        python -m release build --checkpoints my_checkpoints --out build/mine --repo me/my-sets
        python -m release build --npz kip.npz --dataset cifar10 --preprocess zca --out build/one

    Args:
        out: the folder; an earlier release there is replaced, a folder with anything else in it
            is refused.
        given: sets from npz files, and what they are (the same for all of them).
        checkpoints: a directory of exported sets; `checkpoints` when no --npz is given.
        transforms: fitted transforms to ship, such as another release's `transforms` folder.
        data_dir: directory with <name>.npz files or snapshots of the Hub's files.
        repo: the data set repository on the Hub that the card names, namespace/name; `push` goes
            there.
        license: identifier of the Hub; apache-2.0 for images learned from the official data sets,
            else other.
        version: the version of the release, which `push` makes the tag.
        creator: who is named as the author; the namespace of --repo if you do not say.
        base_url: where a server other than the Hub will offer the folder, such as
            https://host/sets; croissant.json has the addresses of all files.
    """
    told = (repo, license, version, creator, base_url)
    sets = build(out, given, checkpoints, transforms, data_dir, *told)
    size = sum(entry.size for entry in read_manifest(out).files)
    print(f"{out}: {len(sets)} sets, {size / 1e6:.1f} MB, {version}, for {repo}")
    print(f"check it with: python -m release verify {out}")


def build(
    out: Path | str,
    given: NpzSets = NpzSets(),  # noqa: B008, frozen
    checkpoints: Path | str | None = None,
    transforms: Path | None = None,
    data_dir: Path | None = None,
    repository: str = REPOSITORY,
    license_id: str | None = None,
    version: str = VERSION,
    creator: str | None = None,
    base_url: str = "",
) -> list[str]:
    """Write a release folder; two builds of the same sets make the same bytes.

    The folder is made beside `out` and moved there whole: on any error `out` is as it was.

    Args:
      out: the folder.
      given: sets from npz files.
      checkpoints: a directory of exported sets; `checkpoints` when no npz files are given.
      transforms: a folder with transform files to ship instead of fits of the data.
      data_dir: the directory of the data, see `load_dataset`.
      repository: the repository on the Hub that the card, CITATION.cff and Croissant name,
        `namespace/name`.
      license_id: the license as the Hub names it; None for the default of `publication`.
      version: the version of the release, as `v1.0.0`.
      creator: the author to name; None for the default of `publication`.

    Returns:
      The names of the sets.

    Raises:
      UserError: bad input, named; `out` exists and is no release folder, or holds other files too.
    """
    out = Path(out)
    _refuse_foreign(out)
    if checkpoints is None and not given.npz:
        checkpoints = CHECKPOINTS
    made = from_checkpoints(Path(checkpoints)) if checkpoints is not None else []
    theirs = from_npz(given, data_dir)
    sets = sorted([*made, *theirs.sets], key=lambda learned: learned.name)
    names = [learned.name for learned in sets]
    refuse_doubled(names, "the release")
    records = [learned.record for learned in sets]
    published = publication(records, repository, license_id, version, creator, base_url)

    def find(learned: LearnedSet) -> tuple[Transform, bool]:
        if learned in theirs.sets:
            return theirs.transform, False
        return transform_of(learned.record, transforms, data_dir)

    origins = {learned.name: theirs.origin for learned in theirs.sets}

    kinds = {learned.name: theirs.kind for learned in theirs.sets}
    with _staged(out) as folder:
        _fill(folder, _by_transform(sets, kinds), find, origins, published)
    return names


def _fill(
    folder: Path,
    sets: Mapping[str, list[LearnedSet]],
    find: Callable[[LearnedSet], tuple[Transform, bool]],
    origins: Mapping[str, str],
    published: Publication,
) -> None:
    """Write everything.

    Args:
      folder: an empty folder.
      sets: the sets, by the path of their transform.
      find: gives a set's transform, and whether it was fitted again for that.
      origins: where the transforms of sets from elsewhere come from, by the name of the set.
      published: where, by whom, as which version, under which license.
    """
    records, row_bytes, facts = [], {}, {}
    # Sets that share a transform come together, so that one at a time is in memory: the ZCA of
    # a CIFAR takes 150 MB.
    for path, members in sets.items():
        transform, shipped, refitted = None, "", False
        for learned in members:
            made_with = learned.record["transform_sha256"]
            if transform is None or made_with != shipped:
                transform, refitted = find(learned)
                if shipped and digest(transform) != shipped:
                    raise UserError(f"the sets of {path} were made with different transforms")
                shipped = digest(transform)
                save(transform, folder / path)
                facts[path] = TransformFacts.of(transform)
            about = {"transform": path, "transform_sha256": shipped, "refitted": refitted}
            if learned.name in origins:
                about |= {"refitted": False, "origin": origins[learned.name]}
            record, row_bytes[learned.name] = _write_set(folder, learned, transform, about)
            records.append(record)
    records.sort(key=lambda record: record["name"])
    _describe(folder, records, facts, row_bytes, published)


def _by_transform(
    sets: Sequence[LearnedSet], kinds: Mapping[str, str]
) -> dict[str, list[LearnedSet]]:
    """The sets by the path of their transform, whose kind `kinds` may name for a set."""
    grouped: dict[str, list[LearnedSet]] = {}
    for learned in sets:
        kind = kinds.get(learned.name, preprocessing(learned.record))
        path = layout.transform(learned.record["dataset"], kind)
        grouped.setdefault(path, []).append(learned)
    return dict(sorted(grouped.items()))


def _write_set(
    folder: Path, learned: LearnedSet, transform: Transform, about: dict[str, Any]
) -> tuple[dict[str, Any], int]:
    """Write the files of one set; return its record and the size of its rows in bytes."""
    if learned.images.shape[1:] != tuple(transform.image_shape):
        raise UserError(
            f"{learned.name}: images {learned.images.shape[1:]} do not fit the transform of "
            f"{learned.record['dataset']}, which takes {tuple(transform.image_shape)}"
        )
    preview = transform.preview(learned.images)
    row_bytes = write_parquet(folder / layout.parquet(learned.name), learned, preview)
    write_npz(
        folder / layout.npz(learned.name), {"images": learned.images, "labels": learned.labels}
    )
    shape = list(learned.images.shape[1:])
    record = {**learned.record, "release": {**about, "image_shape": shape}}
    write_atomic(folder / layout.record(learned.name), as_json(record))
    draw(learned, preview, folder)
    return record, row_bytes


def _describe(
    folder: Path,
    records: list[dict[str, Any]],
    facts: dict[str, TransformFacts],
    row_bytes: dict[str, int],
    published: Publication,
) -> None:
    """Write the files about all sets together; the manifest is the last."""

    def listed():
        return make_manifest(folder, published.version, published.repository)

    files = {entry.path: entry for entry in listed().files}
    file_bytes = {name: files[layout.parquet(name)].size for name in row_bytes}
    write_atomic(folder / layout.CARD, card(records, facts, row_bytes, file_bytes, published))
    write_atomic(folder / layout.GALLERY, page(records, folder, published.version))
    write_atomic(folder / layout.CITATION, citation_file(records, published))
    for path in (layout.CROISSANT, layout.CROISSANT_LOCAL):
        base = published.files_url if path == layout.CROISSANT else ""
        write_atomic(folder / path, as_json(croissant(records, files, published, base)))
    write_manifest(folder, listed())


def _refuse_foreign(out: Path) -> None:
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise UserError(f"{out} is not a folder: choose another --out")
    if not out.is_dir() or not any(out.iterdir()):
        return
    try:
        manifest = read_manifest(out)
    except UserError as error:
        raise UserError(
            f"{out} exists and is not a release folder of this version: choose another --out"
        ) from error
    if strangers := unlisted(out, manifest, hidden=True):
        raise UserError(
            f"{out} contains {strangers[0]}, which is not part of the release there and would be "
            "lost: move it away or choose another --out"
        )


@contextlib.contextmanager
def _staged(out: Path) -> Iterator[Path]:
    """A folder beside `out` that replaces it when the block ends without an error."""
    created = [p for p in (out.parent, *out.parent.parents) if not p.exists()]
    with contextlib.ExitStack() as stack:
        stack.callback(_remove_empty, created)
        try:
            out.parent.mkdir(parents=True, exist_ok=True)
            staged = stack.enter_context(atomic_folder(out))
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise UserError(
                f"cannot write beside {out} ({reason}): choose another --out"
            ) from error
        yield staged


def _remove_empty(directories: Sequence[Path]) -> None:
    for directory in directories:
        with contextlib.suppress(OSError):  # only where nothing was written
            directory.rmdir()

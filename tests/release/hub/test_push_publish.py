"""What a push leaves on the Hub: one commit with exactly the release, then its tag."""

import hashlib
import json
import shutil

import pytest
from hub_store import Entry
from tiny_release import REPO, make_release

from paper_repro.core.errors import UserError
from release.push import publish as push

CHANGES = ("POST", "PUT", "DELETE", "PATCH")


def files_of(hub, revision):
    found = hub.repository(REPO).at(revision).files
    return {path: hub.store.content(entry) for path, entry in found.items()}


def local(folder):
    listed = [
        entry["path"] for entry in json.loads((folder / "manifest.json").read_text())["files"]
    ]
    return {path: (folder / path).read_bytes() for path in [*listed, "manifest.json"]}


def without_attributes(files):
    return {path: content for path, content in files.items() if path != ".gitattributes"}


def test_a_push_makes_a_private_repository_one_commit_and_the_tag(hub, tiny_release):
    commit = push(tiny_release, REPO, yes=True, create=True)
    repository = hub.repository(REPO)
    assert repository.private
    assert len(repository.commits) == 2, "the first one is the Hub's own"
    assert repository.tags == {"v1.0.0": commit} and repository.head == commit
    assert without_attributes(files_of(hub, "v1.0.0")) == local(tiny_release)
    assert ".gitattributes" in files_of(hub, "v1.0.0")
    assert len(hub.uploaded) == 3, "each large file once"


def test_the_tag_is_the_last_change(hub, tiny_release):
    push(tiny_release, REPO, yes=True, create=True)
    changes = [route for method, route in hub.asked if method in CHANGES]
    assert "/tag/" in changes[-1] and "/commit/" in changes[-2]


def test_public_is_asked_for(hub, tiny_release):
    push(tiny_release, REPO, yes=True, create=True, public=True)
    assert not hub.repository(REPO).private


def test_public_does_not_change_an_existing_repository(hub, tiny_release):
    hub.store.create(REPO, True, next(iter(hub.store.roles)))
    with pytest.raises(UserError, match="exists and is private"):
        push(tiny_release, REPO, yes=True, public=True)
    assert hub.repository(REPO).private and hub.repository(REPO).tags == {}


def test_a_dry_run_shows_the_plan_and_asks_for_nothing_but_reading(hub, tiny_release, capsys):
    hub.store.create(REPO, True, next(iter(hub.store.roles)))
    hub.repository(REPO).add("an earlier release", earlier({"old.bin": b"old"}))
    parent = hub.repository(REPO).head
    assert push(tiny_release, REPO) is None
    printed = capsys.readouterr().out
    assert REPO in printed and parent in printed and "v1.0.0" in printed and "private" in printed
    size = (tiny_release / "data/tiny-ipc1/train.parquet").stat().st_size
    assert f"upload      data/tiny-ipc1/train.parquet  {size:,} bytes" in printed
    assert "delete      old.bin" in printed
    assert "dry run: nothing was changed" in printed
    assert {method for method, _ in hub.asked} == {"GET"}
    assert hub.repository(REPO).head == parent and hub.repository(REPO).tags == {}


def earlier(content, **added):
    """The files of a release with this content, and files that people added."""
    listed = [
        {"path": path, "sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
        for path, data in content.items()
    ]
    manifest = {"format": 1, "version": "v0.1.0", "repository": REPO, "files": listed}
    files = {**content, "manifest.json": json.dumps(manifest).encode(), **added}
    return {path: Entry(data) for path, data in files.items()}


def test_what_people_added_or_changed_is_named_and_left(hub, tiny_release, capsys):
    hub.store.create(REPO, True, next(iter(hub.store.roles)))
    content = {"old.bin": b"old", "kept.bin": b"kept", "README.md": b"card"}
    theirs = {"thesis.csv": b"precious", "kept.bin": b"kept, but better", "README.md": b"mine too"}
    hub.repository(REPO).add("theirs", earlier(content, **theirs))
    push(tiny_release, REPO, yes=True)
    printed = capsys.readouterr().out
    assert "delete      old.bin" in printed and printed.count("delete      ") == 1
    assert "leave       kept.bin" in printed and "leave       thesis.csv" in printed
    assert "README.md  " in printed and "over one that was added or changed there" in printed
    assert printed.count("over one") == 1 and "1 to delete; 2 of others to leave" in printed
    found = files_of(hub, "v1.0.0")
    assert found.pop("thesis.csv") == b"precious" and found.pop("kept.bin") == theirs["kept.bin"]
    assert found == local(tiny_release)
    # The next push leaves them too, and the same one changes nothing.
    hub.asked.clear()
    push(tiny_release, REPO, yes=True)
    assert {method for method, _ in hub.asked} == {"GET"}


@pytest.mark.parametrize("manifest", [b"{}", b"[1]", b"\xff", b'{"format": 99}', b"[" * 10**5])
def test_a_manifest_that_is_not_of_a_release_does_not_make_one(hub, tiny_release, manifest):
    hub.store.create(REPO, True, next(iter(hub.store.roles)))
    files = {"manifest.json": Entry(manifest), "app.js": Entry(b"1")}
    parent = hub.repository(REPO).add("an app", files).oid
    with pytest.raises(UserError, match=r"contains 'app\.js', which is not part of any release"):
        push(tiny_release, REPO, yes=True)
    assert hub.repository(REPO).head == parent


def test_files_of_no_release_are_not_deleted(hub, tiny_release):
    hub.store.create(REPO, True, next(iter(hub.store.roles)))
    hub.repository(REPO).add("by hand", {"thesis.csv": Entry(b"precious")})
    parent = hub.repository(REPO).head
    for yes in (False, True):
        with pytest.raises(UserError, match=r"contains 'thesis\.csv', which is not part of any"):
            push(tiny_release, REPO, yes=yes)
    assert hub.repository(REPO).head == parent and hub.repository(REPO).tags == {}


def test_a_repository_that_the_card_does_not_name_is_refused(hub, tiny_release):
    with pytest.raises(UserError, match=f"was built for {REPO}.*--repo tester/others"):
        push(tiny_release, "tester/others", yes=True, create=True)
    assert hub.asked == []


def test_a_dry_run_needs_neither_token_nor_repository(hub, tiny_release, capsys, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "")
    assert push(tiny_release) is None
    printed = capsys.readouterr().out
    assert (
        f"{REPO} at {hub.endpoint} (none is visible without a token; to be created, private)"
        in printed
    )
    assert "--yes (with --create) does it" in printed
    assert {method for method, _ in hub.asked} == {"GET"} and hub.store.repositories == {}


def test_a_dry_run_with_create_makes_nothing(hub, tiny_release, capsys):
    push(tiny_release, REPO, create=True)
    assert "to be created, private" in capsys.readouterr().out
    assert hub.store.repositories == {}


def test_a_public_repository_can_be_compared_without_a_token(hub, tiny_release, monkeypatch):
    push(tiny_release, REPO, yes=True, create=True, public=True)
    monkeypatch.delenv("HF_TOKEN")
    assert push(tiny_release, REPO) == hub.repository(REPO).head, "already released"


def test_a_new_version_replaces_the_files_and_deletes_the_old_ones(hub, tiny_release, tmp_path):
    first = make_release(tmp_path / "first", "v0.9.0", seed=5, extra="npz/dropped.npz")
    push(first, REPO, yes=True, create=True)
    push(tiny_release, REPO, yes=True)
    repository = hub.repository(REPO)
    assert len(repository.commits) == 3, "one commit each"
    assert "npz/dropped.npz" in files_of(hub, "v0.9.0")
    assert without_attributes(files_of(hub, "v1.0.0")) == local(tiny_release)
    assert ".gitattributes" in files_of(hub, "v1.0.0")


def test_a_listing_in_pages_is_read_to_its_end(hub, tiny_release, tmp_path):
    hub.page_size = 2
    push(tiny_release, REPO, yes=True, create=True)
    assert push(tiny_release, REPO, yes=True) == hub.repository(REPO).head
    other = make_release(tmp_path / "other", "v2.0.0", seed=1)
    push(other, REPO, yes=True)
    assert without_attributes(files_of(hub, "v2.0.0")) == local(other)


def test_a_released_folder_pushed_again_changes_nothing(hub, tiny_release, capsys):
    commit = push(tiny_release, REPO, yes=True, create=True)
    hub.asked.clear()
    assert push(tiny_release, REPO, yes=True, create=True) == commit
    assert "already released" in capsys.readouterr().out
    assert {method for method, _ in hub.asked} == {"GET"}


def test_the_same_files_under_another_tag_are_not_committed_again(hub, tiny_release):
    commit = push(tiny_release, REPO, yes=True, create=True)
    assert push(tiny_release, REPO, yes=True, tag="v1.0.0-final") == commit
    assert hub.repository(REPO).tags == {"v1.0.0": commit, "v1.0.0-final": commit}


@pytest.mark.parametrize(
    "name", ["main", "../v1", "a b", "", "v1..2", "-v1", "deadbeef", "v1.lock"]
)
def test_a_name_that_cannot_be_a_tag_is_refused(hub, tiny_release, name):
    with pytest.raises(UserError, match="cannot be the tag"):
        push(tiny_release, REPO, yes=True, create=True, tag=name)
    assert hub.asked == []


@pytest.mark.parametrize("name", ["sets", "a/b/c", "tester/", "tester/x y", "../etc"])
def test_a_name_that_cannot_be_a_repository_is_refused(hub, tiny_release, name):
    with pytest.raises(UserError, match="--repo"):
        push(tiny_release, name, yes=True, create=True)
    assert hub.asked == []


def changed(folder):
    (folder / "croissant.json").write_text("[]\n")


def grown(folder):
    with open(folder / "npz/tiny-ipc1.npz", "ab") as file:
        file.write(b"x")


def missing(folder):
    (folder / "README.md").unlink()


def unlisted(folder):
    (folder / "notes.txt").write_text("mine")


def linked(folder):
    (folder / "croissant.json").unlink()
    (folder / "croissant.json").symlink_to("/etc/hostname")


def linked_folder(folder):
    shutil.move(folder / "npz", folder.parent / "outside")
    (folder / "npz").symlink_to(folder.parent / "outside")


def linked_manifest(folder):
    shutil.move(folder / "manifest.json", folder.parent / "outside.json")
    (folder / "manifest.json").symlink_to(folder.parent / "outside.json")


def leaving(folder):
    content = json.loads((folder / "manifest.json").read_text())
    content["files"][0]["path"] = "../secret"
    (folder.parent / "secret").write_bytes((folder / "README.md").read_bytes())
    (folder / "manifest.json").write_text(json.dumps(content))


@pytest.mark.parametrize(
    "damage",
    [changed, grown, missing, unlisted, linked, linked_folder, linked_manifest, leaving],
)
def test_a_folder_that_is_not_as_it_was_built_is_refused(hub, tiny_release, damage):
    damage(tiny_release)
    with pytest.raises(UserError, match="build the release again"):
        push(tiny_release, REPO, yes=True, create=True)
    assert hub.asked == [] and hub.store.repositories == {}


def test_hidden_files_stay_at_home(hub, tiny_release):
    (tiny_release / ".secret").write_text("mine")
    push(tiny_release, REPO, yes=True, create=True)
    assert without_attributes(files_of(hub, "v1.0.0")) == local(tiny_release)

"""What a Hub remembers: accounts, repositories, their commits, tags and large blobs, in memory."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
from pathlib import PurePosixPath

WRITE_TOKEN = "hf_writeXXXXXXXXXXXXXXXXXXXXXXXXXXXX"
READ_TOKEN = "hf_readXXXXXXXXXXXXXXXXXXXXXXXXXXXXX"
ACCOUNT = "tester"

LARGE = (".parquet", ".npz", ".safetensors", ".png", ".bin")
ATTRIBUTES = "".join(f"*{end} filter=lfs diff=lfs merge=lfs -text\n" for end in LARGE).encode()


@dataclasses.dataclass(frozen=True)
class Manners:
    """What other servers do otherwise than the Hub does.

    Attributes:
      private: repositories that are asked to be private are so ("kept"), are public though the
        server says private ("claimed"), or are public ("none").
      error_codes: refusals have X-Error-Code, X-Error-Message and JSON; else a line of text.
      html: every answer is a page, with the status 200.
      parts: a large file goes up in parts of so many bytes; 0 for one part.
      long_ids: ids of commits and blobs have 64 digits, as in git's SHA-256 format.
      attributes: a new repository has .gitattributes; else its first commit is empty.
    """

    private: str = "kept"
    error_codes: bool = True
    html: bool = False
    parts: int = 0
    long_ids: bool = False
    attributes: bool = True


class Refused(Exception):
    """A request the Hub declines, with the status and the header that says why."""

    def __init__(
        self,
        status: int,
        message: str,
        code: str | None = None,
        headers: dict[str, str] | None = None,
    ):
        super().__init__(message)
        self.status, self.code, self.headers = status, code, headers or {}


def git_blob_id(content: bytes, long: bool = False) -> str:
    hashed = hashlib.sha256 if long else hashlib.sha1
    return hashed(b"blob %d\0" % len(content) + content).hexdigest()


@dataclasses.dataclass(frozen=True)
class Entry:
    """A file of a commit: its git blob, which is a pointer where the content is a large blob."""

    blob: bytes
    sha256: str | None = None
    large_size: int = 0

    @classmethod
    def pointer(cls, sha256: str, size: int) -> Entry:
        text = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n"
        return cls(text.encode(), sha256, size)

    @property
    def size(self) -> int:
        return self.large_size if self.sha256 else len(self.blob)

    @property
    def blob_id(self) -> str:
        return git_blob_id(self.blob)

    def listed(self, path: str, long_ids: bool = False) -> dict:
        oid = git_blob_id(self.blob, long_ids)
        item = {"type": "file", "path": path, "oid": oid, "size": self.size}
        if self.sha256:
            lfs = {"oid": self.sha256, "size": self.size, "pointerSize": len(self.blob)}
            item["lfs"] = lfs
        return item


@dataclasses.dataclass(frozen=True)
class Commit:
    oid: str
    parent: str | None
    title: str
    files: dict[str, Entry]


class Repository:
    """One branch called main, from a first commit that holds .gitattributes or nothing."""

    _serial = itertools.count()

    def __init__(self, name: str, private: bool, manners: Manners = Manners()):
        self.name, self.private, self.manners = name, private, manners
        self.commits: dict[str, Commit] = {}
        self.tags: dict[str, str] = {}
        self.head: str | None = None
        first = {".gitattributes": Entry(ATTRIBUTES)} if manners.attributes else {}
        self.add("initial commit", first)

    def add(self, title: str, files: dict[str, Entry]) -> Commit:
        """Commit `files` as the whole new tree of main."""
        described = repr((next(self._serial), self.head, title, sorted(files)))
        hashed = hashlib.sha256 if self.manners.long_ids else hashlib.sha1
        oid = hashed(described.encode()).hexdigest()
        self.commits[oid] = Commit(oid, self.head, title, dict(files))
        self.head = oid
        return self.commits[oid]

    def at(self, revision: str) -> Commit:
        oid = self.head if revision == "main" else self.tags.get(revision, revision)
        if oid not in self.commits:
            raise Refused(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return self.commits[oid]

    def tag(self, name: str, revision: str) -> None:
        oid = self.at(revision).oid
        if name in self.tags:
            raise Refused(409, f"Tag reference exists already: refs/tags/{name}")
        self.tags[name] = oid

    def apply(self, lines: list[dict], blobs: dict[str, bytes]) -> Commit:
        """The commit that the operations of a commit request make; all of them or none."""
        header = next(line["value"] for line in lines if line["key"] == "header")
        parent = header.get("parentCommit")
        if parent is not None and not self.head.startswith(parent):
            raise Refused(412, "A commit has happened since. Please refresh and try again.")
        files = dict(self.commits[self.head].files)
        for line in lines:
            value = line["value"]
            match line["key"]:
                case "file":
                    files[value["path"]] = Entry(_decoded(value))
                case "lfsFile":
                    if value["oid"] not in blobs:
                        raise Refused(
                            400,
                            f"LFS pointer pointed to a file that does not exist: {value['path']}",
                        )
                    files[value["path"]] = Entry.pointer(value["oid"], value["size"])
                case "deletedFile":
                    if files.pop(value["path"], None) is None:
                        raise Refused(404, "A file with this name doesn't exist", "EntryNotFound")
        return self.add(header["summary"], files)

    def listing(self, revision: str, folder: str, recursive: bool) -> list[dict]:
        found: dict[str, dict] = {}
        inside = PurePosixPath(folder)
        for path, entry in self.at(revision).files.items():
            parents = [parent for parent in PurePosixPath(path).parents if parent != inside]
            if folder and inside not in PurePosixPath(path).parents:
                continue
            for parent in parents:
                if inside in parent.parents and (recursive or parent.parent == inside):
                    found[str(parent)] = {
                        "type": "directory",
                        "path": str(parent),
                        "oid": "0" * 40,
                        "size": 0,
                    }
            if recursive or PurePosixPath(path).parent == inside:
                found[path] = entry.listed(path, self.manners.long_ids)
        if folder and not found:
            raise Refused(404, f"{folder} does not exist on {revision!r}", "EntryNotFound")
        return [found[path] for path in sorted(found)]


class Store:
    """Repositories and blobs, with the permission of each token."""

    def __init__(self, manners: Manners = Manners()) -> None:
        self.manners = manners
        self.parts: dict[str, dict[int, bytes]] = {}
        self.roles = {WRITE_TOKEN: "write", READ_TOKEN: "read"}
        self.repositories: dict[str, Repository] = {}
        self.blobs: dict[str, bytes] = {}

    def role(self, token: str | None) -> str | None:
        if token is not None and token not in self.roles:
            raise Refused(401, "Invalid credentials in Authorization header")
        return self.roles.get(token)

    def readable(self, name: str, token: str | None) -> Repository:
        role, found = self.role(token), self.repositories.get(name)
        hidden = found is None or (found.private and self.manners.private == "kept")
        if role is None and hidden:
            raise Refused(401, "Invalid username or password.")
        if found is None:
            raise Refused(404, "Repository not found", "RepoNotFound")
        return found

    def writable(self, name: str, token: str | None) -> Repository:
        found = self.readable(name, token)
        self.require_write(token)
        return found

    def require_write(self, token: str | None) -> None:
        if self.role(token) is None:
            raise Refused(401, "Invalid username or password.")
        if self.role(token) != "write":
            raise Refused(403, "Forbidden: you must use a write token to upload to a repository.")

    def create(self, name: str, private: bool, token: str | None) -> Repository:
        self.require_write(token)
        if not name.startswith(ACCOUNT + "/"):
            raise Refused(403, "You don't have the rights to create a dataset there")
        if name in self.repositories:
            raise Refused(409, "You already created this dataset repo")
        private = private and self.manners.private != "none"
        self.repositories[name] = Repository(name, private, self.manners)
        return self.repositories[name]

    def keep(self, sha256: str, content: bytes) -> None:
        if hashlib.sha256(content).hexdigest() != sha256:
            raise Refused(400, "The uploaded bytes do not have the SHA-256 of their address")
        self.blobs[sha256] = content

    def content(self, entry: Entry) -> bytes:
        return self.blobs[entry.sha256] if entry.sha256 else entry.blob


def _decoded(value: dict) -> bytes:
    import base64

    return base64.b64decode(value["content"], validate=True)

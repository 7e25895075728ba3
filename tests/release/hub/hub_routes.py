"""What the loopback Hub answers, one function per endpoint; `x` is the request in progress.

Data set repositories only. No Xet: an LFS blob is one PUT, or one for each part of it.
"""

from __future__ import annotations

import base64
import json
import re
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, quote

import yaml
from hub_store import ACCOUNT, LARGE, Entry, Refused

if TYPE_CHECKING:
    from hub_server import Exchange

REPO = r"/api/datasets/(?P<repo>[^/]+/[^/]+)"


def whoami(x: Exchange) -> None:
    role = x.hub.store.role(x.token)
    if role is None:
        raise Refused(401, "Invalid username or password.")
    token = {"displayName": "t", "role": role}
    auth = {"type": "access_token", "accessToken": token}
    x.send_json({"type": "user", "name": ACCOUNT, "orgs": [], "auth": auth})


def validate_yaml(x: Exchange) -> None:
    lines = x.json["content"].split("---\n", 2)
    try:
        yaml.safe_load(lines[1] if len(lines) == 3 and not lines[0] else "")
    except yaml.YAMLError as error:
        problem = {"errors": [{"message": str(error)}], "warnings": []}
        return x.send(400, json.dumps(problem).encode())
    x.send_json({"errors": [], "warnings": []})


def create(x: Exchange) -> None:
    asked = x.json
    name = f"{asked['organization'] or ACCOUNT}/{asked['name']}"
    assert asked["type"] == "dataset"
    x.hub.store.create(name, asked.get("visibility") == "private", x.token)
    x.send_json({"url": f"{x.hub.endpoint}/datasets/{name}"})


def delete(x: Exchange) -> None:
    name = f"{x.json['organization'] or ACCOUNT}/{x.json['name']}"
    x.hub.store.writable(name, x.token)
    del x.hub.store.repositories[name]
    x.send_json({})


def info(x: Exchange, repo: str, revision: str = "main") -> None:
    found = x.hub.store.readable(repo, x.token)
    commit = found.at(revision)
    files = [{"rfilename": path} for path in commit.files]
    about = {"id": repo, "sha": commit.oid, "private": found.private, "siblings": files}
    x.send_json({**about, "tags": [], "downloads": 0, "likes": 0, "gated": False})


def refs(x: Exchange, repo: str) -> None:
    found = x.hub.store.readable(repo, x.token)

    def described(name, kind, oid):
        return {"name": name, "ref": f"refs/{kind}/{name}", "targetCommit": oid}

    tags = [described(name, "tags", oid) for name, oid in found.tags.items()]
    branches = [described("main", "heads", found.head)]
    x.send_json({"branches": branches, "converts": [], "tags": tags})


def tree(x: Exchange, repo: str, revision: str, folder: str = "") -> None:
    recursive = x.query.get("recursive", ["false"])[0].lower() in ("true", "1")
    items = x.hub.store.readable(repo, x.token).listing(revision, folder, recursive)
    start = int(x.query.get("cursor", ["0"])[0])
    end, more = start + x.hub.page_size, {}
    if end < len(items):
        link = f"{x.hub.endpoint}{x.route}?recursive={recursive}&cursor={end}"
        more["Link"] = f'<{link}>; rel="next"'
    x.send_json(items[start:end], more)


def paths_info(x: Exchange, repo: str, revision: str) -> None:
    asked = parse_qs(x.body.decode()).get("paths", [])
    listed = x.hub.store.readable(repo, x.token).listing(revision, "", recursive=True)
    x.send_json([item for item in listed if item["path"] in asked])


def preupload(x: Exchange, repo: str, revision: str) -> None:
    files = x.hub.store.writable(repo, x.token).at(revision).files
    answers = []
    for file in x.json["files"]:
        base64.b64decode(file["sample"], validate=True)
        large = file["path"].endswith(LARGE) or file["size"] > 10 << 20
        here = files.get(file["path"])
        answers.append(
            {
                "path": file["path"],
                "uploadMode": "lfs" if large else "regular",
                "shouldIgnore": False,
                "oid": here and (here.sha256 or here.blob_id),
            }
        )
    x.send_json({"files": answers})


def lfs_batch(x: Exchange, repo: str) -> None:
    x.hub.store.writable(repo, x.token)
    objects = []
    for item in x.json["objects"]:
        answer = dict(item)
        if item["oid"] not in x.hub.store.blobs:
            base = f"{x.hub.endpoint}/lfs/{quote(repo, safe='')}/{item['oid']}"
            signed = f"?signature={item['oid'][::-1]}"
            upload = {"href": f"{base}{signed}"}
            if size := x.hub.manners.parts:
                count = -(-item["size"] // size)
                urls = {str(n): f"{base}/part/{n}{signed}" for n in range(1, count + 1)}
                upload = {"href": f"{base}/complete", "header": {"chunk_size": str(size), **urls}}
            answer["actions"] = {"upload": upload, "verify": {"href": f"{base}/verify"}}
        objects.append(answer)
    transfer = "multipart" if x.hub.manners.parts else "basic"
    x.send_json({"transfer": transfer, "objects": objects})


def lfs_put(x: Exchange, repo: str, oid: str) -> None:
    if x.query.get("signature") != [oid[::-1]]:
        raise Refused(403, "The signature does not match")
    if x.token is not None:
        x.hub.leaks.append("token sent to the storage")
    x.hub.store.keep(oid, x.body)
    x.hub.uploaded.append(oid)
    x.send(200)


def lfs_part(x: Exchange, repo: str, oid: str, number: str) -> None:
    if x.query.get("signature") != [oid[::-1]]:
        raise Refused(403, "The signature does not match")
    if x.token is not None:
        x.hub.leaks.append("token sent to the storage")
    assert len(x.body) <= x.hub.manners.parts
    x.hub.store.parts.setdefault(oid, {})[int(number)] = x.body
    x.send(200, b"", {"ETag": f'"{number}"'})


def lfs_complete(x: Exchange, repo: str, oid: str) -> None:
    parts = x.hub.store.parts.get(oid, {})
    named = [{"partNumber": n, "etag": f'"{n}"'} for n in range(1, len(parts) + 1)]
    if x.json != {"oid": oid, "parts": named}:
        raise Refused(400, "The parts are not those that came")
    x.hub.store.keep(oid, b"".join(parts[n] for n in sorted(parts)))
    x.hub.uploaded.append(oid)
    x.send_json({"success": True})


def lfs_verify(x: Exchange, repo: str, oid: str) -> None:
    x.hub.store.writable(repo, x.token)
    kept = x.hub.store.blobs.get(oid)
    if kept is None or x.json != {"oid": oid, "size": len(kept)}:
        raise Refused(422, "The upload is incomplete")
    x.send_json({})


def commit(x: Exchange, repo: str, revision: str) -> None:
    found = x.hub.store.writable(repo, x.token)
    assert revision == "main"
    with x.hub.lock:
        made = found.apply([json.loads(line) for line in x.body.splitlines()], x.hub.store.blobs)
    url = f"{x.hub.endpoint}/datasets/{repo}/commit/{made.oid}"
    x.send_json({"success": True, "commitOid": made.oid, "commitUrl": url})


def tag(x: Exchange, repo: str, revision: str) -> None:
    x.hub.store.writable(repo, x.token).tag(x.json["tag"], revision)
    x.send_json({})


def resolve(x: Exchange, repo: str, revision: str, path: str) -> None:
    found = x.hub.store.readable(repo, x.token).at(revision)
    named = {"X-Repo-Commit": found.oid}
    entry = found.files.get(path)
    if entry is None:
        raise Refused(404, "Entry not found", "EntryNotFound", named)
    if entry.sha256 is None:
        return send_content(x, path, entry, {**named, "ETag": f'"{entry.blob_id}"'})
    elsewhere = x.hub.endpoint.replace("127.0.0.1", "localhost")
    named["X-Linked-Size"], named["X-Linked-Etag"] = str(entry.size), f'"{entry.sha256}"'
    named["Location"] = f"{elsewhere}/cdn/{entry.sha256}/{quote(path)}"
    x.send(302, b"", named)


def cdn(x: Exchange, oid: str, path: str) -> None:
    if x.token is not None:
        x.hub.leaks.append("token sent to the CDN")
    size = len(x.hub.store.blobs[oid])
    send_content(x, path, Entry.pointer(oid, size), {"ETag": f'"{oid}"'})


def send_content(x: Exchange, path: str, entry: Entry, headers: dict[str, str]) -> None:
    content = x.hub.store.content(entry)
    if path in x.hub.corrupt:
        content = content[:-1] + bytes([content[-1] ^ 1])
    headers = {**headers, "Accept-Ranges": "bytes"}
    asked = re.fullmatch(r"bytes=(\d+)-(\d*)", x.headers.get("Range", ""))
    if not asked:
        return x.send(200, content, headers)
    start = int(asked[1])
    end = min(int(asked[2]) if asked[2] else len(content) - 1, len(content) - 1)
    headers["Content-Range"] = f"bytes {start}-{end}/{len(content)}"
    x.send(206, content[start : end + 1], headers)


ROUTES = [
    ("GET", r"/api/whoami-v2", whoami),
    ("POST", r"/api/validate-yaml", validate_yaml),
    ("POST", r"/api/repos/create", create),
    ("DELETE", r"/api/repos/delete", delete),
    ("GET", REPO, info),
    ("GET", REPO + r"/revision/(?P<revision>[^/]+)", info),
    ("GET", REPO + r"/refs", refs),
    ("GET", REPO + r"/tree/(?P<revision>[^/]+)(/(?P<folder>.+))?", tree),
    ("POST", REPO + r"/paths-info/(?P<revision>[^/]+)", paths_info),
    ("POST", REPO + r"/preupload/(?P<revision>[^/]+)", preupload),
    ("POST", REPO + r"/commit/(?P<revision>[^/]+)", commit),
    ("POST", REPO + r"/tag/(?P<revision>[^/]+)", tag),
    ("POST", r"/datasets/(?P<repo>[^/]+/[^/]+)\.git/info/lfs/objects/batch", lfs_batch),
    ("PUT", r"/lfs/(?P<repo>[^/]+)/(?P<oid>[0-9a-f]{64})", lfs_put),
    ("PUT", r"/lfs/(?P<repo>[^/]+)/(?P<oid>[0-9a-f]{64})/part/(?P<number>[0-9]+)", lfs_part),
    ("POST", r"/lfs/(?P<repo>[^/]+)/(?P<oid>[0-9a-f]{64})/complete", lfs_complete),
    ("POST", r"/lfs/(?P<repo>[^/]+)/(?P<oid>[0-9a-f]{64})/verify", lfs_verify),
    (
        ("GET", "HEAD"),
        r"/datasets/(?P<repo>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<path>.+)",
        resolve,
    ),
    (("GET", "HEAD"), r"/cdn/(?P<oid>[0-9a-f]{64})/(?P<path>.+)", cdn),
]

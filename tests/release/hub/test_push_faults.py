"""A Hub that breaks: every failure is one clear line, no tag without the whole release, and the
same command run again finishes."""

import threading

import pytest
from hub_store import READ_TOKEN, Entry
from tiny_release import REPO, make_release

import release.hub.client
import release.hub.session
from paper_repro.core.errors import UserError
from release.push import publish as push

COMMIT = r"/api/datasets/tester/sets/commit/main"
TAG = r"/api/datasets/tester/sets/tag/"
INFO = r"/api/datasets/tester/sets$"
BLOB = r"^/lfs/.*[0-9a-f]{64}$"
FOR_EVER = 10**6


@pytest.fixture
def repository(hub):
    return hub.store.create(REPO, True, next(iter(hub.store.roles)))


@pytest.fixture(autouse=True)
def at_once(no_waiting):
    pass


def fails(folder, *says, **options):
    with pytest.raises(UserError) as caught:
        push(folder, REPO, yes=True, **options)
    for text in says:
        assert text in str(caught.value)
    return str(caught.value)


def holds(repository, folder):
    """Whether the newest commit has all files of the folder."""
    paths = [path for path in folder.rglob("*") if path.is_file()]
    files = repository.at("main").files
    return {path.relative_to(folder).as_posix() for path in paths} == set(files) - {
        ".gitattributes"
    }


def test_an_upload_cut_for_good_then_run_again_sends_only_what_is_missing(
    hub, repository, tiny_release
):
    hub.cut("PUT", BLOB, times=FOR_EVER, skip=2)
    fails(tiny_release, "the connection to", "while uploading", "run the same command again")
    assert repository.tags == {} and len(repository.commits) == 1
    finished = list(hub.uploaded)
    assert len(finished) == 2, "the third one was cut each time"
    assert hub.count("PUT", BLOB) == 2 + 6, "the client repeats a cut upload five times"

    hub.heal()
    commit = push(tiny_release, REPO, yes=True)
    assert len(hub.uploaded) == 3 and hub.uploaded[:2] == finished
    assert repository.tags == {"v1.0.0": commit} and holds(repository, tiny_release)
    assert len(repository.commits) == 2


def test_an_upload_cut_once_is_repeated_in_the_same_run(hub, repository, tiny_release):
    hub.cut("PUT", BLOB, skip=1)
    commit = push(tiny_release, REPO, yes=True)
    assert len(hub.uploaded) == 3
    assert repository.tags == {"v1.0.0": commit} and holds(repository, tiny_release)


def test_a_commit_that_was_cut_before_it_was_made_is_made_once(hub, repository, tiny_release):
    hub.cut("POST", COMMIT)
    commit = push(tiny_release, REPO, yes=True)
    assert hub.count("POST", COMMIT) == 2 and len(repository.commits) == 2
    assert repository.tags == {"v1.0.0": commit}


def test_a_commit_whose_answer_was_lost_is_recognised(hub, repository, tiny_release):
    hub.cut("POST", COMMIT, when="answer")
    commit = push(tiny_release, REPO, yes=True)
    assert hub.count("POST", COMMIT) == 1 and len(repository.commits) == 2
    assert repository.tags == {"v1.0.0": commit} and holds(repository, tiny_release)


def test_a_tag_whose_answer_was_lost_is_recognised(hub, repository, tiny_release):
    hub.cut("POST", TAG, when="answer")
    commit = push(tiny_release, REPO, yes=True)
    assert hub.count("POST", TAG) == 1 and repository.tags == {"v1.0.0": commit}


def test_a_repository_whose_creation_was_lost_is_recognised(hub, tiny_release):
    hub.cut("POST", "/api/repos/create", when="answer")
    commit = push(tiny_release, REPO, yes=True, create=True)
    assert hub.repository(REPO).tags == {"v1.0.0": commit} and hub.repository(REPO).private


def test_after_a_failed_tag_the_same_command_only_tags(hub, repository, tiny_release):
    hub.fail("POST", TAG, 500, times=FOR_EVER)
    fails(tiny_release, "500", "while tagging", "run the same command again")
    assert repository.tags == {} and holds(repository, tiny_release)

    hub.heal()
    hub.asked.clear()
    commit = push(tiny_release, REPO, yes=True)
    changes = [route for method, route in hub.asked if method != "GET"]
    assert len(changes) == 1 and "/tag/" in changes[0]
    assert repository.tags == {"v1.0.0": commit} and len(repository.commits) == 2


def test_401_with_a_wrong_token_says_where_to_put_one(hub, repository, tiny_release, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_nobodyXXXXXXXXXXXXXXXXXXXXXXXXXXXXX")
    message = fails(tiny_release, "401", "the token is not valid", "HF_TOKEN", "hf auth login")
    assert "hf_nobody" not in message
    assert repository.tags == {} and len(repository.commits) == 1


def test_401_without_a_token_asks_for_one_before_any_request(
    hub, repository, tiny_release, monkeypatch
):
    monkeypatch.delenv("HF_TOKEN")
    fails(tiny_release, "no token is set", "HF_TOKEN", "hf auth login")
    assert hub.asked == [] and repository.tags == {}


def test_401_of_a_dry_run_without_a_token_on_a_private_repository(
    hub, repository, tiny_release, monkeypatch, capsys
):
    monkeypatch.delenv("HF_TOKEN")
    assert push(tiny_release, REPO) is None
    assert "none is visible without a token" in capsys.readouterr().out


def test_403_with_a_token_that_may_only_read(hub, repository, tiny_release, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", READ_TOKEN)
    message = fails(tiny_release, "403", f"the token may not write to {REPO}", "write permission")
    assert READ_TOKEN not in message
    assert hub.uploaded == [] and repository.tags == {} and len(repository.commits) == 1


def test_403_in_a_namespace_of_others(hub, tmp_path):
    folder = make_release(tmp_path / "r", repository="others/sets")
    with pytest.raises(UserError, match=r"403 .* while creating the repository"):
        push(folder, yes=True, create=True)
    assert hub.store.repositories == {}


def test_404_says_how_to_create_the_repository(hub, tiny_release):
    fails(tiny_release, f"no data set repository {REPO}", "--create")
    assert hub.store.repositories == {} and hub.uploaded == []


def test_409_an_existing_tag_stops_the_push_before_any_upload(
    hub, repository, tiny_release, tmp_path
):
    first = push(make_release(tmp_path / "first", "v1.0.0", seed=9), REPO, yes=True)
    hub.asked.clear()
    fails(tiny_release, "has the tag v1.0.0 already", first, "never moved", "--tag")
    assert {method for method, _ in hub.asked} == {"GET"}
    assert repository.tags == {"v1.0.0": first} and repository.head == first


def test_409_a_tag_that_appears_in_between_is_not_moved(hub, repository, tiny_release):
    other = repository.head
    hub.before("POST", TAG, lambda: repository.tags.update({"v1.0.0": other}))
    fails(tiny_release, "the tag v1.0.0 was made meanwhile", other, "never moved")
    assert repository.tags == {"v1.0.0": other}


def test_412_a_parent_that_moved(hub, repository, tiny_release):
    hub.before("POST", COMMIT, lambda: repository.add("theirs", {"theirs.txt": Entry(b"theirs")}))
    message = fails(tiny_release, "someone else committed", "look", "run the same command again")
    assert repository.head in message
    assert repository.tags == {} and list(repository.at("main").files) == ["theirs.txt"]


def test_a_parent_that_moved_while_the_server_was_broken(hub, repository, tiny_release):
    def theirs():
        repository.add("theirs", {"theirs.txt": Entry(b"theirs")})
        hub.fail("POST", COMMIT, 500)

    hub.before("POST", r"/preupload/", theirs)
    fails(tiny_release, "someone else committed", repository.name)
    assert repository.tags == {} and list(repository.at("main").files) == ["theirs.txt"]


@pytest.mark.parametrize("status", [429, 500, 503])
def test_one_refusal_of_every_request_is_overcome(hub, tiny_release, status):
    routes = [
        ("POST", "/api/repos/create"),
        ("GET", "/tree/"),
        ("POST", "/preupload/"),
        ("POST", "/objects/batch$"),
        ("PUT", BLOB),
        ("POST", "/verify$"),
        ("POST", COMMIT),
        ("POST", TAG),
    ]
    for method, route in routes:
        hub.fail(method, route, status, **({"Retry-After": "1"} if status == 429 else {}))
    commit = push(tiny_release, REPO, yes=True, create=True)
    for method, route in routes:
        assert hub.count(method, route) >= 2, route
    repository = hub.repository(REPO)
    assert repository.tags == {"v1.0.0": commit} and len(repository.commits) == 2
    assert holds(repository, tiny_release)


@pytest.mark.parametrize("status", [429, 500])
def test_one_refusal_to_read_is_overcome(hub, repository, tiny_release, status):
    hub.fail("GET", INFO, status)
    hub.fail("GET", "/refs$", status)
    commit = push(tiny_release, REPO, yes=True)
    assert repository.tags == {"v1.0.0": commit}


@pytest.mark.parametrize(
    ("method", "route", "status"),
    [
        ("GET", INFO, 429),
        ("GET", INFO, 500),
        ("POST", "/preupload/", 500),
        ("PUT", BLOB, 500),
        ("POST", COMMIT, 500),
    ],
)
def test_a_lasting_refusal_ends_after_a_bounded_number_of_requests(
    hub, repository, tiny_release, method, route, status
):
    hub.fail(method, route, status, times=FOR_EVER)
    fails(tiny_release, str(status), "run the same command again")
    assert hub.count(method, route) <= 6 * 3, "three blobs, each repeated five times"
    assert repository.tags == {} and len(repository.commits) == 1


def test_a_server_that_asks_for_a_long_pause_ends_the_command(hub, repository, tiny_release):
    hub.fail("GET", INFO, 429, **{"Retry-After": "86400"})
    fails(tiny_release, "429", "wait some minutes")
    assert hub.count("GET", INFO) == 1 and repository.tags == {}


def test_a_refused_connection(hub, tiny_release, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    fails(tiny_release, "the connection to http://127.0.0.1:9 failed", "HF_ENDPOINT")


@pytest.mark.parametrize(("method", "route"), [("GET", INFO), ("GET", "/refs$"), ("POST", TAG)])
def test_a_server_that_never_answers(hub, repository, tiny_release, monkeypatch, method, route):
    monkeypatch.setattr(release.hub.session, "TIMEOUT", 0.5)
    monkeypatch.setattr(release.hub.client, "WAITS", ())
    never = threading.Event()
    hub.before(method, route, lambda: never.wait(30))
    fails(tiny_release, "the connection to", "Timeout")
    assert repository.tags == {}
    never.set()


def test_offline_mode_is_named(hub, tiny_release, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    fails(tiny_release, "HF_HUB_OFFLINE is set: unset it")
    assert hub.asked == []


def test_a_file_changed_since_the_build(hub, repository, tiny_release):
    (tiny_release / "croissant.json").write_text("[]\n")
    fails(tiny_release, "croissant.json has changed", "build the release again")
    assert hub.asked == [] and repository.tags == {}


@pytest.mark.parametrize("name", ["croissant.json", "npz/tiny-ipc1.npz"])
def test_a_file_changed_during_the_push_is_never_tagged(hub, repository, tiny_release, name):
    content = (tiny_release / name).read_bytes()
    other = content[:-1] + bytes([content[-1] ^ 1])
    hub.before("POST", "/preupload/", lambda: (tiny_release / name).write_bytes(other))
    fails(tiny_release, "does not hold the release", name, "nothing was tagged")
    assert repository.tags == {} and len(repository.commits) == 2

    (tiny_release / name).write_bytes(content)
    commit = push(tiny_release, REPO, yes=True)
    assert repository.tags == {"v1.0.0": commit} and len(repository.commits) == 3


def test_a_file_that_vanishes_during_the_push(hub, repository, tiny_release):
    hub.before("GET", "/refs$", (tiny_release / "npz/tiny-ipc1.npz").unlink)
    fails(tiny_release, "tiny-ipc1.npz")
    assert repository.tags == {} and len(repository.commits) == 1


def test_a_commit_that_the_hub_made_incomplete_is_not_tagged(hub, repository, tiny_release):
    def lose():
        files = dict(repository.at("main").files)
        del files["croissant.json"]
        repository.commits[repository.head].files.clear()
        repository.commits[repository.head].files.update(files)

    # After the commit, the tree is listed once more, which is when the loss shows.
    made = []
    apply = repository.apply
    repository.apply = lambda *operations: made.append(apply(*operations)) or (lose(), made[0])[1]
    fails(tiny_release, "does not hold the release (croissant.json)", "nothing was tagged")
    assert repository.tags == {}


def test_a_card_whose_metadata_does_not_parse(hub, repository, tmp_path, monkeypatch):
    monkeypatch.setattr("tiny_release.CARD", "---\nconfigs: [\n---\n")
    broken = make_release(tmp_path / "broken")
    fails(broken, "README.md")
    assert repository.tags == {} and len(repository.commits) == 1

"""Publishing as a process: exit codes, one line of error, and never the token."""

import os
import signal
import subprocess

import pytest
from hub_store import WRITE_TOKEN
from tiny_release import REPO, publish_command

BLOB = r"^/lfs/.*[0-9a-f]{64}$"
DEBUG = {"HF_DEBUG": "1", "HF_HUB_VERBOSITY": "debug"}


def run(*arguments, **environment):
    return subprocess.run(
        publish_command(*arguments),
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, **environment},
    )


def test_a_push_with_all_logging_on_never_shows_the_token(hub, tiny_release):
    done = run(tiny_release, "--repo", REPO, "--yes", "--create", **DEBUG)
    assert done.returncode == 0, done.stderr
    assert "curl" in done.stderr, "the client's log of its requests is on"
    assert WRITE_TOKEN not in done.stdout + done.stderr
    assert f"tagged      v1.0.0 on commit {hub.repository(REPO).head}" in done.stdout


def test_a_server_that_repeats_the_token_does_not_get_it_printed(hub, tiny_release):
    hub.store.create(REPO, True, WRITE_TOKEN)
    hub.fail(
        "POST",
        "/commit/",
        400,
        **{"X-Error-Message": f"bad {WRITE_TOKEN}", "X-HF-Warning": f"t; {WRITE_TOKEN} is old"},
    )
    done = run(tiny_release, "--repo", REPO, "--yes", **DEBUG)
    assert done.returncode == 2
    assert "bad <token>" in done.stderr and "<token> is old" in done.stderr
    assert WRITE_TOKEN not in done.stdout + done.stderr
    assert hub.repository(REPO).tags == {}


def test_a_token_that_no_header_can_hold_is_not_quoted(hub, tiny_release):
    token = "hf_first\x01second"
    done = run(tiny_release, "--repo", REPO, "--yes", "--create", HF_TOKEN=token, **DEBUG)
    assert done.returncode == 2
    assert "unprintable character" in done.stderr and "HF_TOKEN" in done.stderr
    assert "first" not in done.stdout + done.stderr
    assert hub.asked == []


def test_an_interrupted_upload_is_finished_by_the_same_command(hub, tiny_release):
    hub.store.create(REPO, True, WRITE_TOKEN)
    arguments = (tiny_release, "--repo", REPO, "--yes")
    running = subprocess.Popen(
        publish_command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    # The third blob finds a server that is going away; the command is ended while it waits.
    hub.fail("PUT", BLOB, 503, times=10**6, skip=2, **{"Retry-After": "1"})
    for line in running.stderr:
        if "503" in line:
            break
    running.send_signal(signal.SIGTERM)
    rest = running.communicate(timeout=60)
    assert running.returncode == 130, rest
    finished = list(hub.uploaded)
    assert len(finished) == 2 and hub.repository(REPO).tags == {}

    hub.heal()
    done = run(*arguments)
    assert done.returncode == 0, done.stderr
    assert hub.uploaded[:2] == finished and len(hub.uploaded) == 3
    assert hub.repository(REPO).tags == {"v1.0.0": hub.repository(REPO).head}


@pytest.mark.parametrize("arguments", [["nowhere"], ["{release}", "--repo", "sets"]])
def test_bad_input_is_one_line(hub, tiny_release, arguments):
    done = run(*(text.format(release=tiny_release) for text in arguments))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1

import signal
import subprocess
import sys
import textwrap

import pytest


def run(body, *arguments, **keywords):
    """A command whose `main` has the given body."""
    script = "import errno, gc, os, signal, time\nfrom paper_repro.core import cli, errors\n"
    # A shell that runs the tests in the background has told them to ignore it.
    script += "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    script += "def main(name: str = 'x', count: int = 1) -> None:\n    '''Do it.'''\n"
    script += textwrap.indent(textwrap.dedent(body), "    ") + "\ncli.run(main)\n"
    command = [sys.executable, "-c", script, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, **keywords)


def test_arguments_reach_the_function_by_name():
    done = run("print(name, count + 1)", "--count", "2", "--name", "y")
    assert (done.returncode, done.stdout, done.stderr) == (0, "y 3\n", "")


def test_a_user_error_of_several_lines_is_printed_on_one():
    done = run("raise errors.UserError('one\\n  two')")
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "error: one two\n")


@pytest.mark.parametrize("number", ["ENOSPC", "EDQUOT", "EFBIG"])
def test_a_disk_without_room_names_the_file(number):
    done = run(f"raise OSError(errno.{number}, os.strerror(errno.{number}), 'some/file')")
    assert done.returncode == 2
    assert done.stderr.startswith("error: no space left on the disk that holds some/file (")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("number", ["EACCES", "EPERM", "EROFS"])
def test_a_missing_permission_names_the_file(number):
    done = run(f"raise OSError(errno.{number}, os.strerror(errno.{number}), 'some/file')")
    assert done.returncode == 2
    assert done.stderr.startswith("error: cannot write some/file: ")
    assert done.stderr.count("\n") == 1


def test_a_mistake_of_ours_keeps_its_traceback():
    done = run("raise ValueError('ours')")
    assert done.returncode == 1
    assert "Traceback" in done.stderr and "ValueError: ours" in done.stderr


def test_what_the_function_prints_to_stderr_is_not_held_back():
    done = run("import sys; print('said', file=sys.stderr); sys.exit(3)")
    assert (done.returncode, done.stderr) == (3, "said\n")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_command_politely(number):
    done = run(f"os.kill(os.getpid(), {number:d}); time.sleep(20)")
    assert done.returncode == 130
    assert done.stderr == "interrupted: the same command resumes from the last checkpoint\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_that_meets_a_callback_of_the_garbage_collector_is_heard(number):
    done = run(
        f"""
        def callback(phase, info):
            gc.callbacks.remove(callback)
            os.kill(os.getpid(), {number:d})
        gc.callbacks.append(callback)
        gc.collect()
        for _ in range(400):
            time.sleep(0.05)
        """
    )
    assert done.returncode == 130
    assert done.stderr == "interrupted: the same command resumes from the last checkpoint\n"


def test_other_errors_in_callbacks_are_still_reported():
    done = run("gc.callbacks.append(lambda phase, info: 1 / 0); gc.collect(); gc.callbacks.clear()")
    assert done.returncode == 0
    assert "ZeroDivisionError" in done.stderr

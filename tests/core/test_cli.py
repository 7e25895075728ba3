import json
import os
import re
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from paper_repro import scripts as registry

ROOT = Path(__file__).resolve().parents[2]


INTERRUPTED = "interrupted\n"


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


def test_an_interrupt_while_a_command_is_importing_is_one_line(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.abc, sys\n"
        "class Interrupt(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'paper_repro.core.cli':\n"
        "            raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Interrupt())\n"
    )
    command = [sys.executable, "-m", "paper_repro.evaluate", "--help"]
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, env={**os.environ, "PYTHONPATH": path}
    )
    assert done.returncode in (130, -signal.SIGINT)
    assert (done.stdout, done.stderr) == ("", INTERRUPTED)


def test_a_user_error_of_several_lines_is_printed_on_one():
    done = run("raise errors.UserError('one\\n  two')")
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "error: one two\n")


@pytest.mark.parametrize("number", ["ENOSPC", "EDQUOT", "EFBIG"])
def test_a_disk_without_room_names_the_file(number):
    done = run(f"raise OSError(errno.{number}, os.strerror(errno.{number}), 'some/file')")
    assert done.returncode == 2
    assert done.stderr.startswith("error: no space left on the disk that holds some/file (")
    assert done.stderr.count("\n") == 1


def test_a_disk_without_room_whose_file_is_not_known_is_not_taken_for_that_of_the_output():
    done = run("raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))")
    assert done.returncode == 2
    assert "the disk that holds the output, a cache or temporary files (" in done.stderr
    done = run("raise OSError(errno.EROFS, os.strerror(errno.EROFS))")
    assert done.stderr.startswith("error: cannot use the output, a cache or temporary files: read")


@pytest.mark.parametrize("number", ["EACCES", "EPERM", "EROFS"])
def test_a_missing_permission_names_the_file(number):
    done = run(f"raise OSError(errno.{number}, os.strerror(errno.{number}), 'some/file')")
    assert done.returncode == 2
    assert done.stderr.startswith("error: cannot use some/file: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("number", ["ENOENT", "ENOTDIR", "EISDIR", "EEXIST", "ENAMETOOLONG"])
def test_a_path_that_cannot_be_used_is_named(number):
    done = run(f"raise OSError(errno.{number}, os.strerror(errno.{number}), 'some/file')")
    assert done.returncode == 2
    assert done.stderr.startswith("error: cannot use some/file: ")
    assert done.stderr.endswith("; choose another place\n")


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("NUMBA_NUM_THREADS", "0"),
        ("NUMBA_DISABLE_JIT", "1"),
        ("XLA_FLAGS", "garbage"),
        ("XLA_FLAGS", "--garbage"),
        ("XLA_FLAGS", "--xla_force_host_platform_device_count=abc"),
    ],
)
def test_a_variable_that_a_library_cannot_use_is_named(variable, value):
    body = "from paper_repro.core.kernels import network_kernel; network_kernel('conv-1')"
    done = run(body, env={**os.environ, variable: value})
    assert done.returncode == 2, done.stderr
    assert variable in done.stderr and done.stderr.count("\n") == 1


def test_flags_and_files_of_xla_are_let_through(tmp_path):
    (tmp_path / "flags").write_text("--xla_cpu_enable_fast_math=false")
    for value in ("", "--xla_cpu_enable_fast_math=false", str(tmp_path / "flags")):
        assert run("print(name)", env={**os.environ, "XLA_FLAGS": value}).stdout == "x\n"


def test_commands_work_without_docstrings():
    done = run("print(name)", env={**os.environ, "PYTHONOPTIMIZE": "2"})
    assert (done.returncode, done.stdout) == (0, "x\n")


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
    assert done.stderr == INTERRUPTED


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
    assert done.stderr == INTERRUPTED


def test_other_errors_in_callbacks_are_still_reported():
    done = run("gc.callbacks.append(lambda phase, info: 1 / 0); gc.collect(); gc.callbacks.clear()")
    assert done.returncode == 0
    assert "ZeroDivisionError" in done.stderr


def test_a_subcommand_gets_the_arguments_after_its_name():
    code = """
from paper_repro.core import cli
def add(left: int, right: int = 1) -> None:
    '''Add.

    Not in the list.

    Examples:
        add --left 1
    '''
    print(left + right)
def main() -> None:
    '''Calculate.'''
cli.run(main, commands={"add": add, "plus": add})
"""

    def calculate(*arguments):
        command = [sys.executable, "-c", code, *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=60)

    assert calculate("add", "--left", "2").stdout == "3\n"
    listed = calculate("--help").stdout
    assert "Calculate." in listed and "plus" in listed and "Not in the list." not in listed
    helped = calculate("plus", "--help").stdout
    assert "-c plus [-h]" in helped and "Examples:\n    add --left 1" in helped
    for wrong, said in (([], "Expected one of {add, plus}"), (["minus"], "minus")):
        done = calculate(*wrong)
        assert done.returncode == 2 and said in done.stderr and done.stderr.count("\n") == 1
    done = calculate("add", "--left", "x")
    assert done.returncode == 2 and "-c add --help` lists" in done.stderr


# Every command line of the project, asked for help.

HEAVY = ("jax", "numba", "scipy", "matplotlib", "datasets", "torch")
ASK = """
import contextlib, io, json, re, runpy, sys
heavy, modules = json.loads(sys.argv[1])
before = set()
def ask(module, *subcommand):
    sys.argv = [module, *subcommand, "--help"]
    printed, code = io.StringIO(), None
    try:
        with contextlib.redirect_stdout(printed):
            runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as stop:
        code = stop.code
    loaded = {name for name in heavy if name in sys.modules} - before
    before.update(loaded)
    print(json.dumps([" ".join([module, *subcommand]), code, printed.getvalue(), sorted(loaded)]))
    return printed.getvalue()
for module in modules:
    usage = ask(module).splitlines()[0]
    for names in re.findall(r"{([a-z_,]+)}", usage):
        for name in names.split(","):
            ask(module, name)
"""


def runnable_modules():
    """Every module of the project with a command line, as `python -m` takes it."""
    files = [path for name in ("paper_repro", "release") for path in (ROOT / name).rglob("*.py")]
    names = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__main__")
        for path in files
        if '\nif __name__ == "__main__":\n' in path.read_text(encoding="utf-8")
    ]
    return sorted(names)


@pytest.fixture(scope="module")
def answers():
    """command -> (exit status, what it printed, heavy modules it was the first to import)."""
    asked = json.dumps([HEAVY, runnable_modules()])
    done = subprocess.run(
        [sys.executable, "-c", ASK, asked], capture_output=True, text=True, timeout=300, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return {command: tuple(answer) for command, *answer in lines}


def test_all_command_lines_are_found(answers):
    for command in (
        "paper_repro",
        "paper_repro.table1_comparison",
        "paper_repro.figure_kip_trajectory",
        "paper_repro.evaluate",
        "paper_repro.report",
        "paper_repro.export_checkpoints",
        "paper_repro.benchmark kernel",
        "paper_repro.benchmark transfer",
        "release build",
        "release push",
    ):
        assert command in answers


def test_help_answers_everywhere(answers):
    for command, (code, printed, _) in answers.items():
        assert code == 0, command
        assert printed.startswith(f"usage: python -m {command} [-h]"), command


@pytest.mark.parametrize("script", [script.name for script in registry.scripts()])
def test_tables_and_figures_share_their_options(answers, script):
    _, printed, _ = answers[f"paper_repro.{script}"]
    for option in ("--preset", "--datasets", "--ipc", "--seeds", "--out", "--data-dir"):
        assert option in printed


@pytest.mark.parametrize(
    "name",
    [name for name in runnable_modules() if (ROOT / f"{name.replace('.', '/')}.py").exists()],
)
def test_a_file_answers_as_its_module_under_the_path_that_was_typed(answers, name):
    path = f"{name.replace('.', '/')}.py"
    command = [sys.executable, path, "--help"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"usage: python {path} [-h]")
    options = (set(re.findall("--[a-z-]*[a-z]", text)) for text in (done.stdout, answers[name][1]))
    assert next(options) == next(options)


def test_help_shows_examples(answers):
    for command, (_, printed, _) in answers.items():
        if not command.startswith("paper_repro.core."):  # two that few users need
            assert f"Examples:\n    python -m {command}" in printed, command


def test_help_imports_nothing_that_takes_long(answers):
    assert {command: loaded for command, (*_, loaded) in answers.items() if loaded} == {}

"""Commands of the project inside the process of a test: seconds of start-up less than a new one.

What needs a real process (signals, an environment that libraries read when they are imported)
starts one by `subprocess`.
"""

import contextlib
import dataclasses
import io
import os
import signal
from unittest import mock

from paper_repro.core import cli
from paper_repro.core.runs import gallery, runner


@dataclasses.dataclass(frozen=True)
class Finished:
    """How a command ended, with the names of `subprocess.CompletedProcess`."""

    returncode: int
    stdout: str
    stderr: str


@contextlib.contextmanager
def without_pictures():
    """Tables are run and printed but not drawn, nor are their runs, which takes seconds each.

    The tests of `table_cheap_kernels` draw.
    """
    with (
        mock.patch.object(runner, "render_png", lambda table, path: None),
        mock.patch.object(gallery, "draw", lambda *arguments: None),
    ):
        yield


def command(main, *arguments, commands=None, cwd=None, **environment) -> Finished:
    """Run a command's `main` with words of a command line, which need not be strings.

    The terminal is wide, so that no line of a table is wrapped; `environment` is set besides.
    """
    out, err = io.StringIO(), io.StringIO()
    handler, code = signal.getsignal(signal.SIGTERM), 0
    place = contextlib.nullcontext() if cwd is None else contextlib.chdir(cwd)
    try:
        with (
            mock.patch.dict(os.environ, {"COLUMNS": "200", **environment}),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            place,
        ):
            cli.run(main, [str(word) for word in arguments], commands)
    except SystemExit as stop:
        code = stop.code or 0
    finally:
        signal.signal(signal.SIGTERM, handler)
    return Finished(code, out.getvalue(), err.getvalue())

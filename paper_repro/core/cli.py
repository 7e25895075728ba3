"""How every command line of the project starts and ends: tyro in, one-line errors out."""

from __future__ import annotations

import errno
import inspect
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import tyro

from paper_repro.core.errors import UserError

EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130


def run(main: Callable[..., Any], args: Sequence[str] | None = None) -> None:
    """Parse the command line into `main`'s annotated arguments, call it, and exit.

    Exit codes: 0 done, 2 for a `UserError` or unusable arguments (one line on stderr), 130 when
    interrupted. A full disk and a missing permission are reported like a `UserError`, wherever
    they were met.
    """
    signal.signal(signal.SIGTERM, _interrupt)
    summary = inspect.getdoc(main).split("\nArgs:")[0]
    try:
        tyro.cli(main, args=args, prog=_program(), description=summary)
    except UserError as error:
        _fail(str(error))
    except KeyboardInterrupt:
        print(
            "interrupted: the same command resumes from the last checkpoint",
            file=sys.stderr,
        )
        sys.exit(EXIT_INTERRUPTED)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            _fail(
                f"no space left on the disk that holds {error.filename or 'the output'}: free some "
                "and run the same command again; what was finished is kept"
            )
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            _fail(
                f"cannot write {error.filename}: {error.strerror.lower()}; choose another --out "
                "or correct the permissions"
            )
        raise


def _interrupt(signum: int, frame: object) -> None:
    """A polite kill ends a run as ctrl-C does, with its state saved."""
    raise KeyboardInterrupt


def _program() -> str:
    """The command as a user types it, `python -m package.module`, without a path."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    if spec is None:
        return f"python {Path(sys.argv[0]).name}"
    return "python -m " + spec.name.removesuffix(".__main__")


def _fail(message: str) -> None:
    print("error: " + " ".join(message.split()), file=sys.stderr)
    sys.exit(EXIT_USER_ERROR)

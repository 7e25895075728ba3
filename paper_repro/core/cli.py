"""How every command line of the project starts and ends: tyro in, one-line errors out."""

from __future__ import annotations

import _thread
import contextlib
import errno
import functools
import inspect
import io
import os
import re
import shlex
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Union

import tyro

from paper_repro.core.errors import Diverged, UserError
from paper_repro.core.machine.device import require_chosen, require_xla_flags

EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_UNNAMED = "the output, a cache or temporary files"
_NO_PERMISSION = (errno.EACCES, errno.EPERM, errno.EROFS)
_NO_PLACE = (
    *(errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST),
    *(errno.EBUSY, errno.ENAMETOOLONG, errno.ELOOP),
)


def run(
    main: Callable[..., Any],
    args: Sequence[str] | None = None,
    commands: Mapping[str, Callable[..., Any]] | None = None,
) -> None:
    """Parse the command line into `main`'s annotated arguments, call it, and exit.

    With `commands` the first argument names one of them, which takes the rest; `main`, which is
    never called then, has the description of them all.

    Exit codes: 0 done, 2 for a `UserError`, a run that `Diverged` where no row tells of it, or
    unusable arguments (one line on stderr), 130 when interrupted, with what the interrupt says
    (`run_cells` says that its command goes on). A full disk, a missing permission and a path that
    cannot be a file or a directory are reported like a `UserError`, wherever they were met.
    """
    signal.signal(signal.SIGTERM, _interrupt)
    report = sys.unraisablehook
    sys.unraisablehook = functools.partial(_interrupt_again, report)
    try:
        require_xla_flags()
        parse(main, args, commands)()
    except (UserError, Diverged) as error:
        _fail(str(error))
    except KeyboardInterrupt as stop:
        print(": ".join(["interrupted", *map(str, stop.args)]), file=sys.stderr)
        sys.exit(EXIT_INTERRUPTED)
    except BrokenPipeError:  # the reader of the output is gone, as with `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        if error.errno in _NO_ROOM:
            _fail(
                f"no space left on the disk that holds {error.filename or _UNNAMED} "
                f"({error.strerror.lower()}): free some and run the same command again; what was "
                "finished is kept"
            )
        if error.errno in _NO_PERMISSION:
            _fail(
                f"cannot use {error.filename or _UNNAMED}: {error.strerror.lower()}; correct the "
                "permissions or choose another place"
            )
        if error.errno in _NO_PLACE and error.filename:
            _fail(f"cannot use {error.filename}: {error.strerror.lower()}; choose another place")
        raise
    except (AssertionError, RuntimeError):
        try:
            require_chosen()
        except UserError as refused:
            _fail(str(refused))
        raise
    except ValueError as error:
        if not (names := _variables_in(error)):
            raise
        which = "the environment variable" if len(names) == 1 else "one of the variables"
        given = ", ".join(f"{name}={os.environ[name]}" for name in names)
        _fail(f"{which} {given} is wrong ({error}): correct or unset it")
    finally:
        sys.unraisablehook = report


def _variables_in(error: ValueError) -> list[str]:
    """The variables that JAX or Numba, which read theirs when imported, may not understand.

    Of Numba, which does not always say which, all that are set.
    """
    of_theirs = [name for name in os.environ if name.startswith(("JAX_", "NUMBA_"))]
    named = set(re.findall(r"\w+", str(error).upper()))
    if found := [name for name in of_theirs if name in named]:
        return found[:1]
    raised_in = traceback.extract_tb(error.__traceback__)[-1].filename
    if f"{os.sep}numba{os.sep}" in raised_in:
        return [name for name in of_theirs if name.startswith("NUMBA_")]
    return []


def _later(function: Callable[..., None]) -> Callable[..., Callable[[], None]]:
    """`function` bound to its arguments instead of called: what parsing makes of it."""

    @functools.wraps(function)
    def bind(*values: Any, **named: Any) -> Callable[[], None]:
        return functools.partial(function, *values, **named)

    return bind


def parse(
    main: Callable[..., Any],
    args: Sequence[str] | None = None,
    commands: Mapping[str, Callable[..., Any]] | None = None,
) -> Callable[[], Any]:
    """What `run` would call, bound to its arguments.

    Raises:
      SystemExit: the arguments do not parse (status 2, one line on stderr), or ask for help (0).
    """
    program, args = _program(), list(sys.argv[1:] if args is None else args)
    if commands and args and args[0] in commands:
        main, program = commands[args[0]], f"{program} {args.pop(0)}"
    elif commands:
        main = _one_of(commands, main)
    # The whole docstring up to the arguments: tyro itself would leave out the examples.
    # Under python -OO there are no docstrings.
    summary = (inspect.getdoc(main) or "").split("\nArgs:")[0]
    printed = io.StringIO()
    try:
        with contextlib.redirect_stderr(printed):
            return tyro.cli(_later(main), args=args, prog=program, description=summary)
    except SystemExit as stop:
        if not stop.code:
            raise
        _fail(f"{_text_of_box(printed.getvalue())}; `{program} --help` lists what there is")


def _one_of(
    commands: Mapping[str, Callable[..., Any]], main: Callable[..., Any]
) -> Callable[..., Any]:
    """A function with the description of `main` whose argument is one of the subcommands."""

    def chosen(command: Callable[[], Any]) -> Any:
        return command()

    options = (
        Annotated[
            Any,
            tyro.conf.subcommand(
                name,
                description=(inspect.getdoc(function) or "").split("\n\n")[0],
                constructor=_later(function),
            ),
        ]
        for name, function in commands.items()
    )
    chosen.__doc__ = main.__doc__
    chosen.__annotations__ = {
        "command": Annotated[Union[tuple(options)], tyro.conf.arg(name="")]  # noqa: UP007
    }
    return chosen


def _text_of_box(box: str) -> str:
    """What tyro says in a frame, on one line: the part between the title and the next rule."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", box).strip()
    title, *lines = (line.strip(" │╭╮╰╯─") for line in plain.splitlines())
    said = []
    for line in lines:
        if line.strip("-"):
            said.append(line)
        elif said:
            break
    return (" ".join(said) or title).removeprefix("Error parsing ").rstrip(".")


def _interrupt(signum: int, frame: object) -> None:
    """A polite kill ends a run as ctrl-C does, with its state saved."""
    raise KeyboardInterrupt


def _interrupt_again(report: Callable[[Any], Any], ignored: Any) -> None:
    """An interrupt that met a callback of the garbage collector (JAX has one) is sent again.

    Python can only print an exception raised there, and the run would go on.
    """
    if not issubclass(ignored.exc_type, KeyboardInterrupt):
        report(ignored)
        return
    timer = threading.Timer(0.05, _thread.interrupt_main, [signal.SIGTERM])
    timer.daemon = True
    timer.start()


def _program() -> str:
    """The command as a user types it: `python -m package.module`, or `python path/to/file.py`."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    if spec is None:
        return f"python {shlex.quote(sys.argv[0])}"
    return "python -m " + spec.name.removesuffix(".__main__")


def _fail(message: str) -> None:
    print("error: " + " ".join(message.split()), file=sys.stderr)
    sys.exit(EXIT_USER_ERROR)

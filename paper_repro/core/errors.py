"""The one exception whose message is meant for the person at the keyboard."""


class UserError(Exception):
    """Something the user can put right: bad input, a missing file, no network, a full disk.

    The message is one line that says what is wrong and what to do next. Command lines print it
    as `error: ...` and exit with code 2 (see `paper_repro.core.cli.run`); library callers catch
    it like any other exception.
    """

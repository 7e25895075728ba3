"""The errors of the project: bad input, what no source has, and runs that diverge."""


class UserError(Exception):
    """Something the user can put right: bad input, a missing file, no network, a full disk.

    The message is one line that says what is wrong and what to do next. Command lines print it
    as `error: ...` and exit with code 2 (see `paper_repro.core.cli.run`); library callers catch
    it like any other exception.
    """


class WorkersGone(UserError):
    """No worker is left to evaluate kernel blocks; a run keeps its state before it stops."""


class Diverged(Exception):
    """A run ended without a result: a loss that is not finite, or a kernel that cannot be solved.

    Attributes:
      extra: more fields of the row that records the failure.
    """

    def __init__(self, message: str, **extra: object):
        super().__init__(message)
        self.extra = extra


class Unavailable(Exception):
    """A source cannot give a data set now; the message is the reason, shown if all of them fail."""


class DatasetUnavailable(UserError):
    """No source has the data set; another one may well be there."""

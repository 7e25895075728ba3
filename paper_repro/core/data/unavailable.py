"""The signal that one source cannot serve, so that the next one is tried."""

from paper_repro.core.errors import UserError


class Unavailable(Exception):
    """A source cannot give a data set now; the message is the reason, shown if all of them fail."""


class DatasetUnavailable(UserError):
    """No source has the data set; another one may well be there."""

"""The signal that one source cannot serve, so that the next one is tried."""


class Unavailable(Exception):
    """A source cannot give a data set now; the message is the reason, shown if all of them fail."""

"""Why a peer cannot run."""


class CannotRun(Exception):
    """One line that says what is missing."""

"""The logger of every module."""

from time import time

import twisted.logger
from twisted.logger import LogLevel


class Logger(twisted.logger.Logger):
    """Twisted's, which emits in a fourth of the time: that sorts all levels for each event, to look for the one.

    There are four lines to an order, and a buy takes a tenth less time with this.
    """

    def emit(self, level: LogLevel, format: str | None = None, **kwargs: object) -> None:
        """As Twisted's, without a check of the level and without `log_trace`, which is for debugging observers."""
        self._emit(level, format, kwargs)

    def info(self, format: str | None = None, **kwargs: object) -> None:
        """As Twisted's, which would copy the event on its way."""
        self._emit(LogLevel.info, format, kwargs)

    def _emit(self, level: LogLevel, format: str | None, event: dict[str, object]) -> None:
        event["log_logger"] = self
        event["log_level"] = level
        event["log_namespace"] = self.namespace
        event["log_source"] = self.source
        event["log_format"] = format
        event["log_time"] = time()
        self.observer(event)

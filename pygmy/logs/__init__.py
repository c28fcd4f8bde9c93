"""The log of a node: events as lines or as JSON, in a file of its own that is turned over, or on stdout."""

from pygmy.logs.file import LogFile, Rotation, file_observer
from pygmy.logs.formats import FORMATS, Format
from pygmy.logs.lines import escaped, event_as_line
from pygmy.logs.logger import Logger
from pygmy.logs.stream import stream_observer

__all__ = [
    "FORMATS",
    "Format",
    "LogFile",
    "Logger",
    "Rotation",
    "escaped",
    "event_as_line",
    "file_observer",
    "stream_observer",
]

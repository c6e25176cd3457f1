"""Progress of long work: a bar on a terminal; elsewhere, as in a log file, one line in ten seconds at most."""
import re
import sys
import time

from tqdm import tqdm

__all__ = ["bar"]

_SECONDS = 10
# Of the whole process: several short bars after each other make no more lines than a long one.
_last_line = [0.0]


class _Lines:
    """A stream for `tqdm` that makes lines of its frames, and leaves out those that come too early."""

    def __init__(self, stream):
        self._stream = stream
        _last_line[0] = max(_last_line[0], time.monotonic())

    def write(self, text):
        text = re.sub(r"\x1b\[[\d;]*[A-Za-z]", "", text).strip("\r\n ")
        if text and time.monotonic() - _last_line[0] >= _SECONDS:
            _last_line[0] = time.monotonic()
            self._stream.write(text + "\n")

    def flush(self):
        self._stream.flush()


def bar(iterable=None, **settings):
    """A `tqdm` bar with the same settings, on standard error."""
    if sys.stderr.isatty():
        return tqdm(iterable, **settings)
    return tqdm(iterable, file=_Lines(sys.stderr), ncols=80, **settings)

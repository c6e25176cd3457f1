"""Progress of long work.

On a terminal it is a bar. Elsewhere, as in a log file, it is one line in ten seconds at most.
"""

import re
import sys
import time

from tqdm import tqdm

__all__ = ["bar"]

_SECONDS = 10
# When the process wrote its last line, and first when it started. Several short bars make as many
# lines as a long one.
_last_line = [time.monotonic()]


class _Lines:
    """A stream for `tqdm` that makes lines of its frames.

    Frames that come too early are left out.
    """

    def __init__(self, stream):
        self._stream = stream

    def write(self, text):
        text = re.sub(r"\x1b\[[\d;]*[A-Za-z]", "", text).strip("\r\n ")
        if text and time.monotonic() - _last_line[0] >= _SECONDS:
            _last_line[0] = time.monotonic()
            self._stream.write(text + "\n")

    def flush(self):
        self._stream.flush()


def bar(iterable=None, **settings):
    """A `tqdm` bar with the same settings, on standard error."""
    if sys.stderr is None:
        # Closed, as by `2>&-`.
        settings["disable"] = True
    elif not sys.stderr.isatty():
        settings.update(file=_Lines(sys.stderr), ncols=80, dynamic_ncols=False)
    return tqdm(iterable, **settings)

"""Slices that are read in every epoch, and kept in memory as far as they fit."""

import threading

__all__ = ["LARGEST", "Remembered"]

# Bytes that any machine which trains a network can spare.
LARGEST = 2**28


class Remembered:
    """Slices, of which the first ones that are asked for are kept in memory.

    A set that is larger than the memory is not turned over: an epoch asks for each slice once, and
    would find none of the last ones.

    Args:
        slices: `PreparedSlices`, whose other attributes these have too. A slice that is kept is
            read once, whatever happens to its file.
        largest: bytes that are kept at most.
    """

    def __init__(self, slices, largest=LARGEST):
        self._slices = slices
        self._left = largest
        self._kept = {}
        # Slices are asked for by several threads.
        self._lock = threading.Lock()

    def __getattr__(self, name):
        return getattr(self._slices, name)

    def __len__(self):
        return len(self._slices)

    def __getitem__(self, index):
        found = self._kept.get(index)
        if found is not None:
            return found
        found = self._slices[index]
        sample, _ = found
        size = sum(array.nbytes for array in sample)
        with self._lock:
            if index not in self._kept and size <= self._left:
                self._kept[index] = found
                self._left -= size
        return found

"""What an attack has stored, so that two runs can be compared."""

from pathlib import Path

import h5py

__all__ = ["attacks_of"]


def attacks_of(run_dir):
    """The arrays of all attacks of a run as bytes: a dict by file, each of a dict by name."""
    found = {}
    for path in sorted(Path(run_dir, "attacks").rglob("*.h5")):
        with h5py.File(path) as file:
            arrays = {name: file[name][()].tobytes() for name in file}
        found[str(path.relative_to(run_dir))] = arrays
    return found

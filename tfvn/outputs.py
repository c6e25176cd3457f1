"""Files of results: written whole or not at all, and never in the place of a file that is not this
package's own.

A result replaces an earlier one of the same name, and so a name alone must not decide: a folder of
scans may hold a `reconstructions.h5` too. Each of our files begins in a way of its own, which is
looked for before any work.
"""

import contextlib
import os
import re

import h5py
import tensorflow as tf

from tfvn.data.files import replacing

__all__ = ["check_replaceable", "reason", "written"]

# How each text file begins.
_BEGINNINGS = {
    "results.csv": "model,slice,name,attack,",
    "table1.csv": "model,attack,radius,steps,",
    "table1.md": "Error of the reconstructions",
    "certificates.csv": "model,attack,size,",
    "num_samples.csv": "model,num_samples,radius,",
    "num_samples.md": "| model",
    "comparison.md": "| model | radius |",
    "tuning.csv": "trial,",
    "best.yaml": "# The best of the ",
    "history.csv": "iteration,",
    "times.csv": "what,units,seconds",
}


@contextlib.contextmanager
def written(path):
    """As `tfvn.data.files.replacing`, where TensorFlow or Keras writes: their errors are told in
    the same way.
    """
    with replacing(path) as temporary:
        try:
            yield temporary
        except tf.errors.OpError as error:
            raise OSError(None, reason(error)) from error


def reason(error):
    """The reason alone of an error of the file system or of TensorFlow."""
    if isinstance(error, OSError):
        return error.strerror or str(error)
    text = (
        str(getattr(error, "message", None) or error).strip().splitlines() or [type(error).__name__]
    )[0]
    # What follows the name of a file.
    return re.sub(r"^.*; ", "", re.sub(r"\{\{.*?\}\}\s*|\s*\[Op:\w+\]", "", text))[:200]


def check_replaceable(folder, names):
    """Checks that no result would take the place of a file that an earlier one is not.

    Args:
        folder: where results go; it need not be there.
        names: of the files, and of folders.

    Raises:
        ValueError: naming what is not ours, a link among it, or a folder that is none.
    """
    if os.path.lexists(folder) and not os.path.isdir(folder):
        raise ValueError(
            f"{folder} is a file, and results need a folder. Name another one (--output)."
        )
    if os.path.isdir(folder) and not os.access(folder, os.W_OK | os.X_OK):
        raise ValueError(
            f"cannot write to {folder}: Permission denied. Give permission there, or name another"
            " folder (--output)."
        )
    for name in names:
        path = os.path.join(folder, name)
        if os.path.islink(path):
            raise ValueError(
                f"{path} is a link, and would be replaced. Move it away, or name another folder"
                " (--output)."
            )
        if os.path.lexists(path) and not _is_ours(path):
            raise ValueError(
                f"{path} is there, and is no earlier result of this command: it would be lost. Move"
                " it away, or name another folder (--output)."
            )


def _is_ours(path):
    name = os.path.basename(path)
    beginnings = _beginnings(name)
    if not beginnings and not name.endswith((".h5", ".png", ".html")):
        return os.path.isdir(path)
    if not os.path.isfile(path):
        return False
    try:
        if name.endswith(".h5"):
            with h5py.File(path, "r") as file:
                return {"slices", "models"} <= set(file)
        with open(path, "rb") as file:
            start = file.read(1024)
    except OSError:
        return False
    if name.endswith(".png"):
        # A picture tells what drew it, and the table beside it, which is written first, for whom.
        tables = [
            os.path.join(os.path.dirname(path), table)
            for table in ("results.csv", "num_samples.csv")
        ]
        return b"Software\0Matplotlib" in start and any(map(_is_ours, tables))
    if name.endswith(".html"):
        return b'<meta name="generator" content="tfvn ' in start
    return start.startswith(tuple(text.encode() for text in beginnings))


def _beginnings(name):
    """How a file of ours of that name begins; under a name of the caller's, as any of its kind."""
    suffix = os.path.splitext(name)[1]
    if name in _BEGINNINGS:
        return [_BEGINNINGS[name]]
    return [text for ours, text in _BEGINNINGS.items() if ours.endswith(suffix)] if suffix else []

"""The learning curve of a training, `history.csv`: a row for each checkpoint.

The first column is the iteration. The others are what Keras logs: means over the iterations since
the row before, and scores of the validation, whose names begin with `val_`.
"""

import csv
import math
import os

from tfvn import tables
from tfvn.files import replacing

__all__ = ["add_row", "last_row", "read_history", "validation_scores"]


def read_history(path):
    """The rows of a learning curve, as dicts of text; none where there is no file.

    Raises:
        ValueError: if the file is something else.
    """
    if not os.path.exists(path):
        return []
    try:
        columns, rows = tables.read_csv(path)
        if columns and columns[0] != "iteration":
            raise ValueError(f"columns {columns}")
        for row in rows:
            _check_row(row)
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}. It is left as it is.") from error
    except (ValueError, KeyError, csv.Error) as error:
        raise ValueError(
            f"{path} is no learning curve of numbers, with a first column named iteration"
            f" ({type(error).__name__}: {str(error)[:200]}). Move it away: a training writes it"
            " anew."
        ) from error
    return rows


def _check_row(row):
    """Checks that a row has a field for each column, and a number in each that is not empty."""
    # The module csv puts what there is too much under None, and None where there is too little.
    complete = None not in row and None not in row.values()
    if not complete or not row["iteration"].isdecimal():
        raise ValueError(f"a row {list(row.values())}")
    if not all(_is_number(text) for text in row.values()):
        raise ValueError(f"a row {list(row.values())}")


def _is_number(text):
    try:
        float(text or "nan")
    except ValueError:
        return False
    return True


def last_row(path):
    """The last row of a learning curve and its iteration: (iteration, row).

    They are (0, {}) where there is no curve that can be read.
    """
    try:
        rows = read_history(path)
    except ValueError:
        rows = []
    if not rows:
        return 0, {}
    return int(rows[-1]["iteration"]), rows[-1]


def add_row(path, iteration, logs):
    """Adds a row to a learning curve, in place of those from that iteration on.

    Such rows are there if a training was killed and continues from the checkpoint before them.

    Args:
        path: the file; it is made if need be.
        iteration: of the new row.
        logs: its numbers by name.

    Raises:
        ValueError: as `read_history`, and if the file cannot be written.
    """
    rows = [row for row in read_history(path) if int(row["iteration"]) < iteration]
    new = {"iteration": iteration}
    for name, value in logs.items():
        new[name] = f"{float(value):.8g}"
    rows.append(new)
    # A dict keeps the order in which the columns come.
    columns = {}
    for row in rows:
        columns.update(row)
    with replacing(path) as temporary:
        # Rows of before stay as they were, digit for digit.
        tables.write_csv(temporary, rows, list(columns), field=str)


def validation_scores(logs):
    """The scores of a validation as numbers: `loss`, `nrmse`, `ssim` and the paper's `rmse`.

    Args:
        logs: those of Keras, or a row of a learning curve. One that is missing there is left out.
    """
    scores = {}
    for name in ("loss", "nrmse", "ssim"):
        value = logs.get(f"val_{name}")
        if value not in (None, ""):
            scores[name] = float(value)
    if "loss" in scores:
        # The loss is half the mean squared error norm, so this is the paper's RMSE.
        scores["rmse"] = math.sqrt(2 * scores["loss"])
    return scores

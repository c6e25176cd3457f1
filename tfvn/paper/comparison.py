"""The paper's printed Table 1 beside the numbers of an evaluation."""

import os

from tfvn import files, tables

__all__ = ["compare"]

# The paper's table knows no other attack than the one in an l2 ball.
_ATTACKS = ("none", "l2")
_METRICS = ("rmse", "ssim")
_MISSING = "-"


def compare(table_path, printed_path, output):
    """Writes the printed values beside the measured ones, with the differences, as Markdown.

    A value is written with as many decimals as the printed one has.

    Args:
        table_path: `table1.csv` of an evaluation.
        printed_path: CSV with the columns `model`, `radius` (0: clean), `rmse` and `ssim`.
        output: file to write.

    Raises:
        ValueError: if a printed value has no number, or if `output` is a file that this did not
            write.
    """
    files.check_replaceable(os.path.dirname(output) or os.curdir, [os.path.basename(output)])
    measured = _read_measured(table_path)
    heads = ["model", "radius"]
    for metric in _METRICS:
        heads += [f"{metric.upper()} printed", "here", "difference"]
    lines = [heads]
    _, printed = tables.read_csv(printed_path)
    for row in printed:
        lines.append(_line(row, measured, printed_path))
    text = tables.aligned(lines)
    with files.replacing(output) as temporary:
        tables.write_text(temporary, text)
    print(f"wrote {output}\n\n{text}", end="")


def _read_measured(table_path):
    """The rows of an evaluation's table by model and radius."""
    measured = {}
    _, rows = tables.read_csv(table_path)
    for row in rows:
        if row["attack"] in _ATTACKS:
            measured[row["model"], float(row["radius"])] = row
    return measured


def _line(printed, measured, printed_path):
    """The cells of one line of the table."""
    try:
        radius = float(printed["radius"])
        found = measured.get((printed["model"], radius), {})
        cells = [printed["model"], f"{radius:g}"]
        for metric in _METRICS:
            cells += _cells(printed[metric], found.get(metric))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{printed_path}: expected model, radius, {', '.join(_METRICS)}. Received:"
            f" {dict(printed)} ({error})"
        ) from error
    return cells


def _cells(printed, measured):
    """What is printed, what is measured, and their difference."""
    expected = float(printed)
    if not measured:
        return [printed, _MISSING, _MISSING]
    decimals = len(printed.partition(".")[2])
    here = float(measured)
    return [printed, f"{here:.{decimals}f}", f"{here - expected:+.{decimals}f}"]

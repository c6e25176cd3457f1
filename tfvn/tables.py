"""Tables as files and as text: CSV, aligned Markdown, numbers to three significant digits."""

import csv
import math
from typing import NamedTuple

__all__ = [
    "Table",
    "aligned",
    "csv_field",
    "decimals",
    "digits",
    "printable",
    "read_csv",
    "write_csv",
    "write_text",
]

# What begins a formula in programs that show tables.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


class Table(NamedTuple):
    """A table as a reader sees it, in Markdown and in the report.

    title: the line above the table.
    lines: a list of lines, each a list of cells as text. The heads come first. In the upper of two
        lines of heads, "" continues the cell before.
    best: a word for each column: "lowest", "highest", or "" where no value is better than another.
    note: the line below the table.
    heads: the number of lines of heads.
    """

    title: str
    lines: list
    best: tuple
    note: str = ""
    heads: int = 1

    def as_text(self):
        """The title and the aligned lines."""
        return f"{self.title}\n\n{aligned(self.lines)}"


def aligned(lines):
    """Lines of texts, the first of them the heads, as a Markdown table that can be read as text."""
    cells = []
    for line in lines:
        cells.append([printable(cell).replace("|", r"\|") for cell in line])
    widths = []
    for column in zip(*cells):
        widths.append(max(3, *(len(cell) for cell in column)))
    rule = ["-" * widths[0]]
    for width in widths[1:]:
        rule.append("-" * (width - 1) + ":")
    text = ""
    for first, *others in [cells[0], rule, *cells[1:]]:
        row = [first.ljust(widths[0]), *map(str.rjust, others, widths[1:])]
        text += f"| {' | '.join(row)} |\n"
    return text


def printable(text):
    """A text on one line: what moves a cursor, or breaks a line of a table, becomes a space."""
    return "".join(sign if sign.isprintable() else " " for sign in text)


def digits(value):
    """Three significant digits, without an exponent for large values; "-" for NaN."""
    if math.isnan(value):
        return "-"
    if abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:#.3g}".rstrip(".")


def decimals(value):
    """Three decimals; "-" for NaN."""
    if math.isnan(value):
        return "-"
    return f"{value:.3f}"


def write_csv(path, rows, columns=None, field=None):
    """Writes dicts as lines of a CSV file.

    Args:
        path: file to write.
        rows: a list of dicts.
        columns: keys of the dicts, in the order of the columns; None: those of the first dict. A
            dict that lacks a key leaves its field empty.
        field: `field(value)` is what a value becomes; None: `csv_field`.

    Raises:
        ValueError: if a dict has a key that is no column.
    """
    if columns is None:
        columns = list(rows[0])
    if field is None:
        field = csv_field
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        for row in rows:
            writer.writerow({key: field(value) for key, value in row.items()})


def read_csv(path, errors="strict"):
    """The columns of a CSV file, a list of names, and its rows, a list of dicts of text.

    An empty file has neither. A row with too many fields has the rest under None, and one with too
    few has None in those that it lacks. What is no CSV file ends in an error of the module csv.

    Args:
        path: file to read.
        errors: what is done with bytes that are no UTF-8, as for `open`.

    Raises:
        OSError: if the file cannot be read.
        ValueError: for bytes that are no UTF-8.
    """
    with open(path, newline="", encoding="utf-8", errors=errors) as file:
        reader = csv.DictReader(file)
        columns = list(reader.fieldnames or [])
        return columns, list(reader)


def csv_field(value):
    """A value as a field of a CSV file.

    A float has eight significant digits, and NaN is empty. A text that programs which show tables
    would take for a formula gets an apostrophe before it, which tells them that it is a text.
    """
    if isinstance(value, str) and value.startswith(_FORMULA):
        return f"'{value}"
    if not isinstance(value, float):
        return value
    if math.isnan(value):
        return ""
    return f"{value:.8g}"


def write_text(path, text):
    """Writes a text file in UTF-8."""
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)

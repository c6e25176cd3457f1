"""A row more for the file of a board: `--add-model FILE`.

FILE is a trained network, a run directory, or a configuration. The row is appended as text, so that
all that was in the file stays as it was, comments and all. That is done when the model has passed
`tfvn.leaderboard.checklist`, and the file with the new row can be read.

A model that Python alone has is no file. docs/howto/leaderboard.md tells how it becomes a row.
"""

import os
import re

from tfvn import checks, files, yaml_text
from tfvn.choices import ABOUT
from tfvn.leaderboard import addresses, checklist
from tfvn.leaderboard.board import read
from tfvn.parts import naming
from tfvn.runs import directory

__all__ = ["add_model", "lines_of"]

_CONFIGURATIONS = (".yaml", ".yml")
# How the rows begin, how each of them does, and how another section would.
_ROWS = re.compile(r"rows\s*:\s*(#.*)?$")
_ITEM = re.compile(r"( *)- ")
_SECTION = re.compile(r"[^\s#-]")


def add_model(path, given, name="", settings=(), about=None):
    """Appends a row to the file of a board, after a checklist, which is printed.

    Args:
        path: the YAML file of the board.
        given: a file of a network, a run directory, or a configuration.
        name: of the row; "": that of the file.
        settings: texts `key=value`, other than in the configuration.
        about: a dict of texts by the names of `tfvn.choices.ABOUT`.

    Returns:
        The items of the checklist.

    Raises:
        ValueError: for a model that does not pass, one that is a row already, a name that is taken,
            and a file whose rows are not the last in it. The file is left as it was.
    """
    path = os.fspath(path)
    before = read(path)
    row = _row(path, given, name, settings, about or {})
    with open(path, "rb") as file:
        content = file.read()
    with naming(path):
        new = lines_of(content.decode("utf-8-sig"), row)
    with files.replacing(path) as temporary:
        with open(temporary, "wb") as file:
            file.write(content + new.encode())
        entry = _added(temporary, path, before)
        items = checklist.asked(entry.config)
        print(f"Checklist of {checks.shown(row['name'])}:\n{checklist.told(items)}")
        failed = [item.what for item in items if not item.passed]
        if failed:
            raise ValueError(
                f"{given} is not added: {len(failed)} of {len(items)} checks failed:"
                f" {'; '.join(failed)}."
            )
    print(f"added the row {checks.shown(row['name'])} to {path}")
    return items


def _row(path, given, name, settings, about):
    """The keys of the new row, a dict of texts. Paths are relative to the folder of the board."""
    given = os.path.normpath(os.fspath(given))
    if not os.path.exists(given):
        raise ValueError(f"{given} is not there. Name a network, a run directory or a YAML file.")
    stem, suffix = os.path.splitext(os.path.basename(os.path.abspath(given)))
    found = {"name": name or stem}
    if os.path.isdir(given):
        # The defence of a run is in its configuration.
        found["config"] = os.path.join(given, directory.CONFIG)
        found["model"] = os.path.join(given, directory.MODEL)
        for each in (found["config"], found["model"]):
            if not os.path.exists(each):
                raise ValueError(f"{given} is no directory of a trained run: there is no {each}.")
    elif suffix.lower() in _CONFIGURATIONS:
        found["config"] = given
    else:
        found["model"] = given
    for key in {"config", "model"} & set(found):
        found[key] = os.path.relpath(found[key], os.path.dirname(os.path.abspath(path)))
    if settings:
        found["set"] = list(settings)
    found.update({key: about[key] for key in ABOUT if about.get(key)})
    return found


def lines_of(text, row):
    """The lines that make a row the last one of a file.

    Args:
        text: of the file.
        row: a dict of the keys of the row.

    Raises:
        ValueError: if its rows are not the last section, each on lines of its own.
    """
    lines = text.splitlines()
    starts = [place for place, line in enumerate(lines) if line.startswith("rows")]
    below = lines[starts[-1] + 1 :] if starts else []
    if starts and not _ROWS.match(lines[starts[-1]]) or any(map(_SECTION.match, below)):
        raise ValueError(
            "the rows must be the last section of the file, each as '- name: ...' on lines of its"
            " own below 'rows:'. Move them to its end."
        )
    new = yaml_text.written([row], only_texts=True).splitlines()
    indents = [match[1] for match in map(_ITEM.match, below) if match] or ["  "]
    new = [min(indents, key=len) + line for line in new]
    if not starts:
        new.insert(0, "rows:")
    if text and not text.endswith("\n"):
        new.insert(0, "")
    end = "\r\n" if "\r\n" in text else "\n"
    return end.join([*new, ""])


def _added(temporary, path, before):
    """The `Entry` of the new row in the file that has it.

    Args:
        temporary: that file.
        path: the file of the board, whose name errors have.
        before: the `Board` without the row.
    """
    try:
        entry = read(temporary).entries[-1]
    except ValueError as error:
        raise ValueError(f"nothing is added: {str(error).replace(temporary, path)}") from error
    own = _address(entry)
    for other in before.entries:
        if _address(other) == own:
            raise ValueError(
                f"{path}: this model is the row {checks.shown(other.name)} already. Nothing is"
                " added."
            )
    return entry


def _address(entry):
    return addresses.of_row(entry.config, addresses.of_training(entry.config))

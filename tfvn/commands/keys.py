"""The command that tells the keys of configurations, and what they mean."""

import shutil
import textwrap

from tfvn import checks, cli
from tfvn.commands.base import Command
from tfvn.settings import REQUIRED

__all__ = ["KEYS"]

_DESCRIPTION = """Lists the keys of configurations. Of one section it says what they mean.

    {0}
    {0} training

A section names a class, and the keys are the arguments of its constructor.
"""
# What is told of a key without a default.
_NO_DEFAULT = "must be given"
# Columns of a text, however narrow the terminal is.
_NARROWEST = 60


def _add_flags(parser):
    parser.add_argument("section", metavar="SECTION", nargs="?", help="of the list")


def _work(arguments, parser, words):
    del parser, words

    def tell():
        from tfvn import config
        from tfvn.drafts import SEED

        columns = max(shutil.get_terminal_size().columns, _NARROWEST) - 1
        if arguments.section is None:
            print(f"{SEED.name}: {SEED.meaning}\n  {_with_default(SEED)}\n")
            for section in config.SECTIONS.values():
                _tell_briefly(section, columns)
            return
        if arguments.section not in config.SECTIONS:
            raise ValueError(
                f"the sections are {', '.join(config.SECTIONS)}. Received:"
                f" {checks.shown(arguments.section)}"
            )
        section = config.SECTIONS[arguments.section]
        for inner in (section, *section.inside.values()):
            _tell(inner, columns)

    return cli.guarded(tell)


def _tell_briefly(section, columns):
    """Prints the keys of a section and their defaults, several in a line."""
    print(textwrap.fill(f"{section.place}: {section.meaning}", columns))
    for inner in (section, *section.inside.values()):
        for group in inner.groups():
            told = " ".join(_with_default(key) for key in group.keys)
            title = _title(inner, group)
            indent = f"  {title} " if title else "  "
            print(textwrap.fill(f"{indent}{told}", columns, subsequent_indent="      "))
    print()


def _tell(section, columns):
    """Prints the keys of a section and their meanings."""
    print(textwrap.fill(f"{section.place}: {section.meaning}", columns))
    for group in section.groups():
        print(f"\n{_title(section, group) or section.place}")
        for key in group.keys:
            text = textwrap.fill(
                _meaning(key),
                columns,
                initial_indent=f"  {key.name} ".ljust(24),
                subsequent_indent=" " * 24,
                break_on_hyphens=False,
            )
            print(text)
    print()


def _with_default(key):
    if key.default is REQUIRED:
        return f"{key.name} ({_NO_DEFAULT})"
    return f"{key.name}={key.written}"


def _meaning(key):
    if key.default is REQUIRED:
        return f"{key.meaning} ({_NO_DEFAULT})"
    if key.written:
        return f"{key.meaning} ({key.written})"
    return key.meaning


def _title(section, group):
    if group.title and group.name == section.default:
        return f"{group.title} (default)"
    return group.title


KEYS = Command("list the keys of configurations", _DESCRIPTION, _add_flags, _work)

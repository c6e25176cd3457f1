"""What a command of `python -m tfvn` is."""

from typing import Callable, NamedTuple

__all__ = ["Command"]


class Command(NamedTuple):
    """One command.

    summary: in the list of commands, without a full stop.
    description: above its flags, {0} being the program.
    add_flags: a function that adds its flags to a `tfvn.cli.Parser`.
    work: a function of the arguments, the parser and the words of the whole command line. It
        returns the exit code.
    advice: what to do with words that are no flags, for the message.
    mixed: whether words that are no flags may stand between flags.
    """

    summary: str
    description: str
    add_flags: Callable
    work: Callable
    advice: str = ""
    mixed: bool = False

"""The commands of `python -m tfvn`; an installed package has them as `tfvn train` and so on.

The scripts train.py, attack.py and evaluate.py are three of them.
"""

from tfvn import cli
from tfvn.commands.certify import CERTIFY
from tfvn.commands.evaluate import EVALUATE
from tfvn.commands.experiment import ATTACK, TRAIN, TUNE
from tfvn.commands.export import EXPORT
from tfvn.commands.keys import KEYS
from tfvn.commands.leaderboard import LEADERBOARD
from tfvn.commands.reconstruct import RECONSTRUCT

__all__ = ["COMMANDS", "call"]

COMMANDS = {
    "train": TRAIN,
    "tune": TUNE,
    "attack": ATTACK,
    "evaluate": EVALUATE,
    "certify": CERTIFY,
    "leaderboard": LEADERBOARD,
    "reconstruct": RECONSTRUCT,
    "export": EXPORT,
    "keys": KEYS,
}


def call(name, words=None, program=None):
    """Calls one of the `COMMANDS`. Returns the exit code.

    Args:
        name: of the command.
        words: of its command line; None: those of this process.
        program: what it is called in its texts.
    """
    command = COMMANDS[name]
    parser = cli.Parser(program)
    parser.description = command.description.format(parser.prog)
    command.add_flags(parser)
    if parser.takes_keys:
        parser.epilog = cli.SECTIONS_HELP
    parse = parser.parse_known_args
    if command.mixed:
        parse = parser.parse_known_intermixed_args
    arguments, rest = parse(words)
    if rest and command.advice:
        parser.error(f"what is {' '.join(rest)[:200]}? {command.advice}")
    if rest:
        parser.error(f"unrecognized arguments: {' '.join(rest)[:200]}")
    return command.work(arguments, parser, [*parser.prog.split(), *(words or ())])

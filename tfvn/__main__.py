"""Trains, attacks and evaluates networks, reconstructs scans with them and exports them.

    python -m tfvn train --config configs/smoke.yaml
    python -m tfvn reconstruct scan.h5 --model model.keras -o out.h5 out.png

`python -m tfvn COMMAND --help` says more. Installed, the program is called `tfvn`.
"""

import os
import sys

from tfvn import cli
from tfvn.commands import COMMANDS, call

__all__ = ["entry", "main"]


@cli.command
def main(argv=None):
    """Reads a command line and does what it says. Returns the exit code."""
    words = sys.argv[1:] if argv is None else list(argv)
    program = "python -m tfvn"
    # Installed, it has a name of its own.
    if os.path.basename(sys.argv[0]) == "tfvn":
        program = "tfvn"
    if words and words[0] in COMMANDS:
        return call(words[0], words[1:], f"{program} {words[0]}")
    summaries = [f"  {name:<13}{command.summary}" for name, command in COMMANDS.items()]
    parser = cli.Parser(program, description=__doc__, epilog="\n".join(["commands:", *summaries]))
    parser.add_argument("command", metavar="COMMAND", nargs="?", choices=COMMANDS, help="see below")
    parser.parse_args(words)
    parser.print_help()
    return 0


def entry():
    """The program `tfvn` of an installed package."""
    cli.exit_with(main)


if __name__ == "__main__":
    entry()

#!/usr/bin/env python3
"""Attacks the network of a run directory: `python attack.py --help` says more.

It is the same as `python -m tfvn attack`.
"""

from tfvn import cli, commands


@cli.command
def main(argv=None):
    """Reads a command line and does what it says. Returns the exit code."""
    return commands.call("attack", argv, "python attack.py")


if __name__ == "__main__":
    cli.exit_with(main)

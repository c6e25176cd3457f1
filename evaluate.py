#!/usr/bin/env python3
"""Evaluates run directories together: `python evaluate.py --help` says more.

It is the same as `python -m tfvn evaluate`.
"""

from tfvn import cli, commands


@cli.command
def main(argv=None):
    """Reads a command line and does what it says. Returns the exit code."""
    return commands.call("evaluate", argv, "python evaluate.py")


if __name__ == "__main__":
    cli.exit_with(main)

#!/usr/bin/env python3
"""Trains the network of a run directory: `python train.py --help` says more.

It is the same as `python -m tfvn train`.
"""

from tfvn import cli, commands


@cli.command
def main(argv=None):
    """Reads a command line and does what it says. Returns the exit code."""
    return commands.call("train", argv, "python train.py")


if __name__ == "__main__":
    cli.exit_with(main)

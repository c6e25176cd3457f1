#!/usr/bin/env python3
"""Attacks the network of a run directory on its test slices: see `python attack.py --help`, and
`tfvn.commands`.
"""

from tfvn import cli, commands


@cli.command
def main(argv=None):
    return commands.attack(argv)


if __name__ == "__main__":
    cli.exit_with(main)

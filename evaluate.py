#!/usr/bin/env python3
"""Evaluates run directories: table, figures, report: see `python evaluate.py --help`, and
`tfvn.commands`.
"""

from tfvn import cli, commands


@cli.command
def main(argv=None):
    return commands.evaluate(argv)


if __name__ == "__main__":
    cli.exit_with(main)

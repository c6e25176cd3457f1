#!/usr/bin/env python3
"""Trains the network of a run directory: see `python train.py --help`, and `tfvn.commands`."""

from tfvn import cli, commands


@cli.command
def main(argv=None):
    return commands.train(argv)


if __name__ == "__main__":
    cli.exit_with(main)

#!/usr/bin/env python3
"""Attacks the network of a run directory on every test slice, at every radius; run again, it continues.

    python attack.py --run-dir runs/original
    python attack.py --config configs/brain.yaml        (a trained network given by the config's `model`)
"""
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from tfvn import cli


def attack(run_dir, config, workers):
    # Takes long to import: after the command line has been read.
    from tfvn import experiments

    experiments.attack(run_dir, config, workers=workers)


@cli.command
def main(argv=None):
    return cli.run(__doc__, attack, argv, splits=("test",))


if __name__ == "__main__":
    sys.exit(main())

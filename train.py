#!/usr/bin/env python3
"""Trains the network of a run directory; run again, it continues an interrupted training.

    python train.py --config configs/knee/original.yaml --set data_path=/data/knee
    python train.py --config configs/knee/original.yaml --set data_path=/data/knee --check-data
    python train.py --config configs/knee/original.yaml --set data_path=/data/knee --run-dir runs/search --tune
"""
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from tfvn import cli


# What takes long to import is imported where it is asked for, after the command line has been read.
def train(run_dir, config, workers):
    from tfvn import experiments

    experiments.train(run_dir, config, workers=workers)


def tune(run_dir, config):
    from tfvn import tuning

    tuning.tune(run_dir, config)


@cli.command
def main(argv=None):
    return cli.run(__doc__, train, argv, tune=tune)


if __name__ == "__main__":
    sys.exit(main())

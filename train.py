#!/usr/bin/env python3
"""Trains the network of a run directory; run again, it continues an interrupted training.

    python train.py --config configs/knee/original.yaml --set data_path=/data/knee
    python train.py --config configs/knee/original.yaml --set data_path=/data/knee --check-data
    python train.py --config configs/knee/original.yaml --set data_path=/data/knee --run-dir runs/search --tune
"""
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from tfvn import cli, experiments


def tune(run_dir, config):
    # Keras Tuner is imported where it is asked for.
    from tfvn import tuning

    tuning.tune(run_dir, config)


def main(argv=None):
    return cli.run(__doc__, experiments.train, argv, tune=tune)


if __name__ == "__main__":
    sys.exit(main())

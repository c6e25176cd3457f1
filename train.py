#!/usr/bin/env python3
"""Trains the network of a run directory; run again, it continues an interrupted training.

    python train.py --config configs/knee/original.yaml --set data_path=/data/knee
    python train.py --config configs/knee/original.yaml --set data_path=/data/knee --check-data
"""
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from tfvn import cli, experiments


def main(argv=None):
    return cli.run(__doc__, experiments.train, argv)


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""Trains the network of a run directory; run again, it continues an interrupted training.

    python train.py --config configs/knee/original.yaml --set data_path=/data/knee
"""
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from tfvn import cli, experiments, runs


def main(argv=None):
    arguments = cli.run_parser(__doc__).parse_args(argv)

    def work():
        run_dir = cli.run_dir_of(arguments)
        experiments.train(run_dir, runs.open_run(run_dir, arguments.config, arguments.set))

    return cli.guarded(work)


if __name__ == "__main__":
    sys.exit(main())

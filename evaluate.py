#!/usr/bin/env python3
"""Evaluates run directories on their test slices, clean and attacked: the paper's Table 1 and Figures 1 to 3, and a report of all.

    python evaluate.py runs/original runs/sigma_0.05 --output results
    python evaluate.py runs/sigma_0.05 --num-samples 1 3 9 27 81
"""
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from tfvn import cli, distribution, evaluation


def main(argv=None):
    parser = cli.parser(__doc__)
    parser.usage = "evaluate.py RUN_DIR [RUN_DIR ...] [--output DIR] [--set KEY=VALUE ...] [--num-samples K ...] [--strategy S]"
    parser.add_argument("run_dirs", metavar="RUN_DIR", nargs="+", help="run directories, in the order of the table")
    parser.add_argument("--output", metavar="DIR", help="where table and figures go (default: <first run directory>/results)")
    parser.add_argument("--set", metavar="KEY=VALUE", nargs="+", action="extend", default=[], help="override num_samples or chunk_size")
    parser.add_argument("--num-samples", metavar="K", type=int, nargs="+", help="instead: error, effect and spread against the draws K")
    cli.add_strategy(parser)
    arguments = parser.parse_args(argv)
    output = arguments.output or os.path.join(arguments.run_dirs[0], "results")

    def work():
        workers = distribution.start(arguments.strategy, arguments.replicas)
        if arguments.num_samples:
            return evaluation.sample_sweep(arguments.run_dirs, output, arguments.num_samples, arguments.set, workers)
        return evaluation.evaluate(arguments.run_dirs, output, arguments.set, workers)

    return cli.guarded(work)


if __name__ == "__main__":
    sys.exit(main())

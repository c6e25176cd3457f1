#!/usr/bin/env python3
"""Evaluates run directories on their test slices, clean and attacked: the paper's Table 1 and Figures 1 to 3, and a report of all.

    python evaluate.py runs/original runs/sigma_0.05 --output results
    python evaluate.py runs/sigma_0.05 --num-samples 1 3 9 27 81
"""
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from tfvn import cli, config

_USAGE = "evaluate.py RUN_DIR [RUN_DIR ...] [--output DIR] [--set KEY=VALUE ...] [--num-samples K ...] [--strategy S]"


@cli.command
def main(argv=None):
    parser = cli.parser(__doc__)
    parser.usage = _USAGE
    parser.add_argument("run_dirs", metavar="RUN_DIR", nargs="*", help="run directories, in the order of the table")
    parser.add_several("--run-dir", metavar="DIR", values=r"", help="the same as RUN_DIR, as the other scripts have it")
    meaning = "where table and figures go (default: <first run directory>/results)"
    parser.add_argument("--output", metavar="DIR", help=meaning)
    cli.add_set(parser, "override num_samples or chunk_size")
    meaning = "instead: error, effect and spread against the draws K; several may follow"
    parser.add_several("--num-samples", metavar="K", values=r"\d+", type=cli.whole_number, help=meaning)
    cli.add_strategy(parser)
    arguments = parser.parse_intermixed_args(argv)
    run_dirs = [*arguments.run_dirs, *arguments.run_dir]
    if not run_dirs:
        parser.error("give at least one RUN_DIR, a folder that train.py has made")
    output = arguments.output or os.path.join(run_dirs[0], "results")

    def read():
        for path in (os.path.join(run_dir, "config.yaml") for run_dir in run_dirs):
            if os.path.exists(path):
                config.load(path, arguments.set)

    def work():
        # These take long to import: after the command line has been read.
        from tfvn import distribution, evaluation

        workers = distribution.start(arguments.strategy, arguments.replicas)
        if arguments.num_samples:
            return evaluation.sample_sweep(run_dirs, output, arguments.num_samples, arguments.set, workers)
        return evaluation.evaluate(run_dirs, output, arguments.set, workers)

    return cli.guarded(work, first=read)


if __name__ == "__main__":
    sys.exit(main())

"""The command that computes a leaderboard."""

import functools
import os

from tfvn import cli
from tfvn.commands.base import Command

__all__ = ["LEADERBOARD"]

_DESCRIPTION = """Trains, attacks, measures and ranks the models that one YAML file names.

It writes results.csv, leaderboard.md, a JSON of each row and leaderboard.html, a page
that loads nothing. What is computed is kept: a row more costs only itself, and a call
that was interrupted or killed goes on.

    {0} configs/leaderboard/quick.yaml
    {0} configs/leaderboard/quick.yaml --dry-run
    {0} configs/leaderboard/quick.yaml --workers 2
"""


def _add_flags(parser):
    parser.add_argument("board", metavar="FILE", help="the YAML file of the leaderboard")
    parser.add_argument(
        "--output",
        metavar="DIR",
        help="where its results go (default: runs/leaderboard/ and the name of the file)",
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="tell what would be computed, with how many gradients, and how long it takes",
    )
    cli.add_cluster(parser)


def _work(arguments, parser, words):
    del parser, words
    stem, _ = os.path.splitext(os.path.basename(arguments.board))
    output = arguments.output or os.path.join("runs", "leaderboard", stem)

    def compute():
        from tfvn import cluster
        from tfvn.leaderboard import plan, run, tasks

        if arguments.dry_run:
            plan.dry_run(arguments.board, output)
            return
        with cluster.connected(arguments.workers, arguments.scheduler) as workers:
            ahead = None
            if workers is not None:
                ahead = functools.partial(tasks.compute, workers)
            run.leaderboard(arguments.board, output, ahead)

    return cli.guarded(compute)


LEADERBOARD = Command(
    "rank models by what attacks do to them, from one file",
    _DESCRIPTION,
    _add_flags,
    _work,
    mixed=True,
)

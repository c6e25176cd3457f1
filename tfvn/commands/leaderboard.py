"""The command that computes a leaderboard."""

import functools
import os

from tfvn import cli
from tfvn.choices import ABOUT
from tfvn.commands.base import Command

__all__ = ["LEADERBOARD"]

_DESCRIPTION = """Trains, attacks, measures and ranks the models that one YAML file names.

It writes results.csv, leaderboard.md, a JSON of each row and leaderboard.html, a page
that loads nothing. What is computed is kept: a row more costs only itself, and a call
that was interrupted or killed goes on.

    {0} configs/leaderboard/quick.yaml
    {0} configs/leaderboard/quick.yaml --dry-run
    {0} configs/leaderboard/quick.yaml --workers 2
    {0} configs/leaderboard/quick.yaml --submit-perturbation mine.h5
    {0} mine.yaml --add-model runs/mine --name "my network" --authors me
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
    parser.add_argument(
        "--submit-perturbation",
        metavar="FILE.h5",
        help="measure changes that were found for a row, and keep what they reach",
    )
    parser.add_argument(
        "--add-model",
        metavar="FILE",
        help="append a row to the file of the leaderboard: a trained network, a run directory or a"
        " configuration, after a checklist",
    )
    parser.add_argument("--name", help="of the row that is added (default: that of its file)")
    cli.add_set(parser, "keys that the row that is added has otherwise")
    for key in ABOUT:
        parser.add_argument(f"--{key}", metavar="TEXT", help="of the row that is added")


def _work(arguments, parser, words):
    del words
    one_row = [arguments.name, arguments.set, *(getattr(arguments, key) for key in ABOUT)]
    if any(one_row) and not arguments.add_model:
        parser.error(f"--name, --set, --{', --'.join(ABOUT)} belong to --add-model")
    ways = [arguments.dry_run, arguments.submit_perturbation, arguments.add_model]
    if sum(map(bool, ways)) > 1:
        parser.error("--dry-run, --submit-perturbation and --add-model exclude each other")
    stem, _ = os.path.splitext(os.path.basename(arguments.board))
    output = arguments.output or os.path.join("runs", "leaderboard", stem)

    def compute():
        from tfvn import cluster
        from tfvn.leaderboard import adding, plan, run, tasks

        if arguments.dry_run:
            plan.dry_run(arguments.board, output)
        elif arguments.submit_perturbation:
            _submit(arguments.board, output, arguments.submit_perturbation)
        elif arguments.add_model:
            about = {key: getattr(arguments, key) for key in ABOUT}
            given = arguments.add_model, arguments.name, arguments.set
            adding.add_model(arguments.board, *given, about)
        else:
            with cluster.connected(arguments.workers, arguments.scheduler) as workers:
                ahead = None
                if workers is not None:
                    ahead = functools.partial(tasks.compute, workers)
                run.leaderboard(arguments.board, output, ahead)

    return cli.guarded(compute)


def _submit(board, output, given):
    """Submits a file, and shows what it does where all else is there."""
    from tfvn.leaderboard import plan, run, submission

    submission.submit(board, output, given)
    if plan.is_complete(board, output):
        run.leaderboard(board, output)
    else:
        print("Rows are missing. The call that computes them shows it.")


LEADERBOARD = Command(
    "rank models by what attacks do to them, from one file",
    _DESCRIPTION,
    _add_flags,
    _work,
    mixed=True,
)

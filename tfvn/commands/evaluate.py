"""The command that evaluates run directories together."""

import os

from tfvn import cli
from tfvn.commands.base import Command

__all__ = ["EVALUATE"]

_DESCRIPTION = """Evaluates run directories on their test slices, clean and attacked.

It writes the paper's Table 1 and Figures 1 to 3, and a report of all.

    {0} runs/original runs/sigma_0.05 --output results
    {0} runs/sigma_0.05 --num-samples 1 3 9 27 81
    {0} runs/original runs/sigma_0.05 --transfer
    {0} runs/original runs/sigma_0.05 --parts
"""


def _add_flags(parser):
    parser.usage = (
        f"{parser.prog} RUN_DIR [RUN_DIR ...] [--output DIR] [--set SECTION.KEY=VALUE ...]\n"
        "           [--show MODEL ...] [--num-samples K ...] [--transfer] [--parts] [--probe]\n"
        "           [--strategy S] [--workers N | --scheduler ADDRESS]"
    )
    parser.add_argument(
        "run_dirs", metavar="RUN_DIR", nargs="*", help="run directories, in the order of the table"
    )
    parser.add_several(
        "--run-dir",
        metavar="DIR",
        values="",
        help="the same as RUN_DIR, as train and attack have it",
    )
    parser.add_argument(
        "--output",
        metavar="DIR",
        help="where table and figures go (default: <first run directory>/results)",
    )
    parser.add_several(
        "--show",
        metavar="MODEL",
        values="",
        help="a model of figure 3, by its name in the table; may be given several times (default:"
        " the first six)",
    )
    cli.add_set(parser, "override defence.num_samples, defence.chunk_size or data.cache_dir")
    _add_what_is_made_instead(parser)
    parser.add_argument(
        "--probe",
        action="store_true",
        help="also probe every model on one slice for what makes attacks on it fail",
    )
    cli.add_strategy_of_draws(parser)
    cli.add_cluster(parser)


def _add_what_is_made_instead(parser):
    """The flags that stand in the place of an evaluation."""
    parser.add_several(
        "--num-samples",
        metavar="K",
        values=r"\d+",
        type=cli.whole_number,
        help="instead: error, effect and spread against the draws K; several may follow",
    )
    parser.add_argument(
        "--transfer",
        action="store_true",
        help="instead: the perturbations of every run on the models of all",
    )
    parser.add_argument(
        "--parts",
        action="store_true",
        help="instead: how much of each effect the measured data see, and how much only the network"
        " says",
    )


def _work(arguments, parser, words):
    del words
    run_dirs = [*arguments.run_dirs, *arguments.run_dir]
    if not run_dirs:
        parser.error("give at least one RUN_DIR, the directory of a training")
    instead = [arguments.num_samples, arguments.transfer, arguments.parts]
    if sum(map(bool, [*instead, arguments.show or arguments.probe])) > 1:
        parser.error(
            "--num-samples, --transfer and --parts each stand in the place of an evaluation, which"
            " has --show and --probe: give one of these"
        )
    cli.check_cluster(arguments, parser)
    if (arguments.workers or arguments.scheduler) and any(instead):
        parser.error(
            "--num-samples, --transfer and --parts work in one process: leave the cluster out"
        )
    if arguments.transfer and arguments.strategy != "none":
        parser.error("--transfer works on one device: leave --strategy out")
    output = arguments.output or os.path.join(run_dirs[0], "results")

    def evaluate():
        from tfvn import cluster, workers
        from tfvn.results import evaluate, split, sweep, transfer

        strategy = workers.start(arguments.strategy, arguments.replicas).strategy()
        if arguments.num_samples:
            sweep.sample_sweep(run_dirs, output, arguments.num_samples, arguments.set, strategy)
        elif arguments.transfer:
            transfer.transfer(run_dirs, output, arguments.set)
        elif arguments.parts:
            split.effect_in_parts(run_dirs, output, arguments.set, strategy)
        else:
            asked = arguments.show, arguments.probe
            with cluster.connected(arguments.workers, arguments.scheduler) as others:
                evaluate.evaluate(run_dirs, output, arguments.set, strategy, *asked, others)

    return cli.guarded(evaluate)


EVALUATE = Command(
    "tabulate and draw run directories, clean and attacked",
    _DESCRIPTION,
    _add_flags,
    _work,
    mixed=True,
)

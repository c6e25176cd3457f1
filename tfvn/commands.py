"""What train.py, attack.py and evaluate.py do with a command line; an installed package has them as
`tfvn train` and so on.

Each takes the words of its command line, `argv`, and what it is called, `program`, and returns the
exit code.
"""

import os

from tfvn import cli, config

__all__ = ["COMMANDS", "attack", "evaluate", "train"]

_TRAIN = """Trains the network of a run directory; run again, it continues an interrupted training.

    {0} --config configs/knee/original.yaml --set data_path=/data/knee
    {0} --config configs/knee/original.yaml --set data_path=/data/knee --check-data
    {0} --config configs/knee/original.yaml --set data_path=/data/knee --run-dir runs/search --tune
"""
_ATTACK = """Attacks the network of a run directory on every test slice, at every radius; run again, it continues.

    {0} --run-dir runs/original
    {0} --config configs/brain.yaml        (a trained network given by the config's `model`)
"""
_EVALUATE = """Evaluates run directories on their test slices, clean and attacked.

The paper's Table 1 and Figures 1 to 3, and a report of all.

    {0} runs/original runs/sigma_0.05 --output results
    {0} runs/sigma_0.05 --num-samples 1 3 9 27 81
"""


# What takes long to import is imported where it is needed, after the command line has been read.
def train(argv=None, program="python train.py"):
    def work(run_dir, settings, workers):
        from tfvn.runs import experiments

        experiments.train(run_dir, settings, workers=workers)

    def tune(run_dir, settings):
        from tfvn.tools import tuning

        tuning.tune(run_dir, settings)

    return cli.run(_TRAIN, work, argv, tune=tune, program=program)


def attack(argv=None, program="python attack.py"):
    def work(run_dir, settings, workers):
        from tfvn.runs import experiments

        experiments.attack(run_dir, settings, workers=workers)

    return cli.run(_ATTACK, work, argv, splits=("test",), program=program)


def evaluate(argv=None, program="python evaluate.py"):
    parser = cli.parser(_EVALUATE, program)
    parser.usage = (
        f"{program} RUN_DIR [RUN_DIR ...] [--output DIR] [--set KEY=VALUE ...] [--num-samples K"
        " ...] [--strategy S]"
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
    meaning = "where table and figures go (default: <first run directory>/results)"
    parser.add_argument("--output", metavar="DIR", help=meaning)
    cli.add_set(parser, "override num_samples or chunk_size")
    meaning = "instead: error, effect and spread against the draws K; several may follow"
    parser.add_several(
        "--num-samples", metavar="K", values=r"\d+", type=cli.whole_number, help=meaning
    )
    cli.add_strategy(parser)
    arguments = parser.parse_intermixed_args(argv)
    run_dirs = [*arguments.run_dirs, *arguments.run_dir]
    if not run_dirs:
        parser.error("give at least one RUN_DIR, the directory of a training")
    output = arguments.output or os.path.join(run_dirs[0], "results")

    def read():
        for path in (os.path.join(run_dir, "config.yaml") for run_dir in run_dirs):
            if os.path.exists(path):
                config.load(path, arguments.set)

    def work():
        from tfvn import distribution
        from tfvn.results import evaluate

        workers = distribution.start(arguments.strategy, arguments.replicas)
        if arguments.num_samples:
            evaluate.sample_sweep(run_dirs, output, arguments.num_samples, arguments.set, workers)
        else:
            evaluate.evaluate(run_dirs, output, arguments.set, workers)

    return cli.guarded(work, first=read)


COMMANDS = {"train": train, "attack": attack, "evaluate": evaluate}

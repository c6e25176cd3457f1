"""The command that certifies a smoothed run from single draws."""

import os

from tfvn import cli
from tfvn.commands.base import Command

__all__ = ["CERTIFY"]

_DESCRIPTION = """Certifies the test slices of a smoothed run from single draws of its answers.

It writes draws.csv and draws.md: median and center smoothing, the local bound with
a level (trace) and as an estimate (covariance), the expected error to the truth, and
the error of the next patient.

    {0} runs/sigma_0.05 --dry-run
    {0} runs/sigma_0.05 --radii 0.01 0.05 --num-draws 1000
    {0} runs/original --floor --radii 1.5 2.5 3.5

The first tells what could be certified with how many draws, and how long it takes.
The last writes floor.csv and floor.md: the error that no method can be below.
docs/howto/certify.md says which certificate answers which question.
"""


def _add_flags(parser):
    parser.add_argument("run_dir", metavar="RUN_DIR", help="the directory of a smoothed run")
    parser.add_several(
        "--radii",
        metavar="R",
        values=r"[\d.eE+-]+",
        type=float,
        help="norms ||A r||_2 of changes of the data; several may follow (default: a quarter, half"
        " and all of the deviation of the noise)",
    )
    parser.add_argument(
        "--num-draws",
        metavar="K",
        type=cli.whole_number,
        default=0,
        help="draws of each slice (default: as many as median and center need at the largest"
        " radius)",
    )
    parser.add_argument(
        "--alpha",
        metavar="A",
        type=float,
        default=None,
        help="the probability that a bound does not hold (0.001)",
    )
    parser.add_argument(
        "--miss",
        metavar="M",
        type=float,
        default=None,
        help="the share of patients for whom the bound of the next patient may not hold (0.1)",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="tell what would be certified, and how long it takes"
    )
    parser.add_argument(
        "--floor",
        action="store_true",
        help="instead: the error that no method can be below on these slices, of any run (default"
        " of --radii: those of its attacks on k-space)",
    )
    parser.add_argument(
        "--output", metavar="DIR", help="where the files go (default: RUN_DIR/results)"
    )
    cli.add_set(parser, "override defence.chunk_size or data.cache_dir")


def _work(arguments, parser, words):
    del words
    levels = {"alpha": arguments.alpha, "miss": arguments.miss}
    levels = {name: level for name, level in levels.items() if level is not None}
    if arguments.floor and (arguments.dry_run or arguments.num_draws or levels):
        parser.error("--floor makes no draws: leave out --dry-run, --num-draws, --alpha and --miss")
    output = arguments.output or os.path.join(arguments.run_dir, "results")

    def certify():
        from tfvn.results import drawn, floor

        if arguments.floor:
            floor.floor_of_run(arguments.run_dir, output, arguments.radii, arguments.set)
            return
        plan = drawn.Plan(radii=tuple(arguments.radii), num_draws=arguments.num_draws, **levels)
        if arguments.dry_run:
            drawn.dry_run(arguments.run_dir, plan, arguments.set)
        else:
            drawn.certify(arguments.run_dir, output, plan, arguments.set)

    return cli.guarded(certify)


CERTIFY = Command(
    "certify a smoothed run from single draws", _DESCRIPTION, _add_flags, _work, mixed=True
)

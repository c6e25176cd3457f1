"""The paper in full: its five networks on the knee data, trained, attacked, tabulated beside the
printed numbers.

    python -m tfvn.paper /data/knee [--run-dir runs/paper]      the paper's setting: days on a CPU
    python -m tfvn.paper --rehearse [--run-dir runs/rehearsal]  the same protocol, shortened, on synthetic knees in the real layout

Run again, it continues where it stopped. A rehearsal changes the configuration by overrides alone:
few patients, few iterations and steps. Its numbers mean nothing; that it ends does, and what its
steps cost.
"""

import functools
import os
import sys

__all__ = ["main", "paper"]

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from tfvn import cli, data, outputs
from tfvn import config as configs
from tfvn.paper import protocol

_CONFIGS = os.path.join(protocol.CONFIGS, "knee")
_REHEARSAL = (
    "train_patients=1-2",
    "train_slices=11-15",
    "test_patients=11",
    "iterations=2",
    "checkpoint_every=1",
    "attack_steps=3",
    "num_samples=3",
)
# Small enough for minutes; --size 640 368 15 is the real one.
_SIZE, _RECEIVER_NOISE = (96, 72, 8), 0.002


@cli.command
def main(argv=None):
    parser = cli.Parser(description=__doc__)
    parser.add_argument("data", metavar="DATA", nargs="?", help="root of the knee data")
    parser.add_argument(
        "--run-dir",
        metavar="DIR",
        help="where all results go (default: runs/paper, runs/rehearsal)",
    )
    parser.add_argument(
        "--rehearse",
        action="store_true",
        help="write synthetic knees below the run directory and use them, shortened",
    )
    parser.add_argument(
        "--size",
        metavar="N",
        type=int,
        nargs=3,
        default=_SIZE,
        help="of a rehearsal: height, width, coils (default: 96 72 8)",
    )
    cli.add_set(parser, "override keys of all five configs")
    arguments = parser.parse_args(argv)
    if arguments.rehearse == bool(arguments.data):
        parser.error("give either DATA, the root of the knee data, or --rehearse")
    parent = arguments.run_dir or os.path.join(
        "runs", "rehearsal" if arguments.rehearse else "paper"
    )
    return cli.guarded(lambda: paper(parent, arguments.data, arguments.set, arguments.size))


def paper(parent, data_path=None, overrides=(), size=_SIZE):
    """Runs the protocol below the folder `parent`, on the knee data or, without a `data_path`, as a
    rehearsal of that size.
    """
    first = os.path.join(_CONFIGS, f"{protocol.MODELS[0]}.yaml")
    if data_path is None:
        data_path = os.path.join(parent, "data")
        overrides = [*_REHEARSAL, *overrides]
        protocol.write_knees(
            data_path, configs.load(first, overrides), size, _RECEIVER_NOISE, "mixed"
        )
    overrides = [f"data_path={data_path}", *overrides]
    print(f"read {data.check(configs.load(first, overrides))} slices: all can be used")
    output = os.path.join(parent, "results")
    outputs.check_replaceable(output, ["comparison.md"])
    watch = protocol.Stopwatch(os.path.join(parent, "times.csv"))
    run_dirs = [os.path.join(parent, name) for name in protocol.MODELS]
    for name, run_dir in zip(protocol.MODELS, run_dirs):
        path = os.path.join(_CONFIGS, f"{name}.yaml")
        config = configs.load(path, overrides)
        train = functools.partial(protocol.train, path, run_dir, overrides)
        new = not os.path.exists(run_dir)
        config = (
            watch.measure(f"training of {name}, iterations", config.iterations, train)
            if new
            else train()
        )
        slices = len(data.source(config, "test"))
        steps = (
            max(config.antun_steps)
            if config.attack_method == "antun"
            else config.attack_steps * len(config.attack_radii)
        )
        steps = int(steps * slices)
        attack = functools.partial(protocol.attack, run_dir, config)
        new = not os.path.exists(os.path.join(run_dir, "attacks"))
        watch.measure(f"attack on {name}, steps", steps, attack) if new else attack()
    protocol.evaluate(run_dirs, output)
    printed = os.path.join(_CONFIGS, "printed.csv")
    protocol.compare(
        os.path.join(output, "table1.csv"), printed, os.path.join(output, "comparison.md")
    )


if __name__ == "__main__":
    sys.exit(main())

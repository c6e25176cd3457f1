"""The main job on built-in data: train five networks, attack them, print the paper's table.

    python -m tfvn.paper.demo [--run-dir runs/demo]

It draws the paper's figures too. It does in one process what the commands it prints would do one by
one. Run again, it continues where it stopped.
"""

import os
import time

from tfvn import cli
from tfvn import config as configs
from tfvn.paper import protocol

__all__ = ["demo", "main"]

_CONFIGS = os.path.join(protocol.CONFIGS, "demo")
# Small enough for minutes, and hard enough (the paper's 15 % of the lines) that the original
# network is really vulnerable.
_SIZE = (96, 72, 8)
_RECEIVER_NOISE = 0.0005


@cli.command
def main(argv=None):
    """Reads a command line and runs the demo. Returns the exit code."""
    parser = cli.Parser(description=__doc__)
    parser.add_argument(
        "--run-dir",
        metavar="DIR",
        default=os.path.join("runs", "demo"),
        help="where all results go (default: runs/demo)",
    )
    parent = parser.parse_args(argv).run_dir
    return cli.guarded(lambda: demo(parent))


def demo(parent):
    """Runs the demo below the folder `parent`."""
    start = time.monotonic()
    data_path = os.path.join(parent, "data")
    base = os.path.join(parent, "base")
    protocol.write_knees(data_path, configs.load(_path("base")), _SIZE, _RECEIVER_NOISE)
    protocol.train(_path("base"), base, [f"data.path={data_path}"])
    run_dirs = []
    for name in protocol.MODELS:
        run_dir = os.path.join(parent, name)
        overrides = [f"data.path={data_path}", f"training.initial_weights={base}"]
        config = protocol.train(_path(name), run_dir, overrides)
        protocol.attack(run_dir, config)
        run_dirs.append(run_dir)
    output = os.path.join(parent, "results")
    protocol.evaluate(run_dirs, output)
    minutes = (time.monotonic() - start) / 60
    print(f"\nThe demo took {minutes:.1f} minutes. Table and figures are in {output}")


def _path(name):
    return os.path.join(_CONFIGS, f"{name}.yaml")


if __name__ == "__main__":
    cli.exit_with(main)

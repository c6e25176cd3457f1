"""The main job on built-in data: train three networks, attack them, print the paper's table.

    python -m tfvn.paper.demo [--run-dir runs/demo]

It draws the paper's figures too. The zero-filled image and CG-SENSE, which have nothing to train,
stand in the same table. It does in one process what the commands it prints would do one by one. Run
again, it continues where it stopped.
"""

import os
import time

from tfvn import cli
from tfvn import config as configs
from tfvn.paper import protocol

__all__ = ["MODELS", "demo", "main"]

_NETWORKS = ("original", "sigma_0.05", "sigma_0.1")
MODELS = ("zero_filled", "cg_sense", *_NETWORKS)

_CONFIGS = os.path.join(protocol.CONFIGS, "demo")
# Small enough for minutes. The images are smooth and the lines few, so that the original network is
# really vulnerable: docs/demo_search.md.
_SIZE = (128, 96, 8)
_RECEIVER_NOISE = 0.0001
_BLUR = 1.0


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
    config = configs.load(_path("base"))
    protocol.write_knees(data_path, config, _SIZE, _RECEIVER_NOISE, blur=_BLUR)
    protocol.train(_path("base"), base, [f"data.path={data_path}"])
    run_dirs = []
    for name in MODELS:
        run_dir = os.path.join(parent, name)
        overrides = [f"data.path={data_path}"]
        if name in _NETWORKS:
            overrides.append(f"training.initial_weights={base}")
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

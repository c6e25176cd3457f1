"""The main job on built-in data: train five networks, attack them, print the paper's table and draw
its figures.

    python -m tfvn.paper.demo [--run-dir runs/demo]

It does in one process what the commands it prints would do one by one. Run again, it continues
where it stopped.
"""

import argparse
import os
import sys
import time

from tfvn import cli
from tfvn import config as configs
from tfvn.paper import protocol

__all__ = ["demo", "main"]

_CONFIGS = os.path.join(protocol.CONFIGS, "demo")
# Small enough for minutes, and hard enough (the paper's 15 % of the lines) that the original
# network is really vulnerable.
_SIZE, _RECEIVER_NOISE = (96, 72, 8), 0.0005


def main(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--run-dir",
        metavar="DIR",
        default=os.path.join("runs", "demo"),
        help="where all results go",
    )
    parent = parser.parse_args(argv).run_dir
    return cli.guarded(lambda: demo(parent))


def demo(parent):
    """Runs the demo below the folder `parent`."""
    start = time.monotonic()
    data_path, base = os.path.join(parent, "data"), os.path.join(parent, "base")
    run_dirs = [os.path.join(parent, name) for name in protocol.MODELS]
    protocol.write_knees(data_path, configs.load(_path("base")), _SIZE, _RECEIVER_NOISE)
    protocol.train(_path("base"), base, [f"data_path={data_path}"])
    for name, run_dir in zip(protocol.MODELS, run_dirs):
        config = protocol.train(
            _path(name), run_dir, [f"data_path={data_path}", f"initial_weights={base}"]
        )
        protocol.attack(run_dir, config)
    output = os.path.join(parent, "results")
    protocol.evaluate(run_dirs, output)
    print(
        f"\nThe demo took {(time.monotonic() - start) / 60:.1f} minutes. Table and figures are in"
        f" {output}"
    )


def _path(name):
    return os.path.join(_CONFIGS, f"{name}.yaml")


if __name__ == "__main__":
    sys.exit(main())

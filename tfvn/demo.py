"""The main job on built-in data: train five networks, attack them, print the paper's table and draw its figures.

    python -m tfvn.demo [--run-dir runs/demo]

It does in one process what the commands it prints would do one by one. Run again, it continues where it stopped.
"""
import argparse
import os
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from tfvn import cli, evaluation, experiments, runs

_MODELS = ("original", "sigma_0.01", "sigma_0.02", "sigma_0.05", "sigma_0.1")
_CONFIGS = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "configs", "demo")


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run-dir", metavar="DIR", default=os.path.join("runs", "demo"), help="where all results go")
    parent = parser.parse_args(argv).run_dir
    return cli.guarded(lambda: demo(parent))


def demo(parent):
    """Runs the demo below the folder `parent`."""
    start = time.monotonic()
    run_dirs = [os.path.join(parent, name) for name in _MODELS]
    for name, run_dir in zip(_MODELS, run_dirs):
        config_path = os.path.join(_CONFIGS, f"{name}.yaml")
        overrides = []
        if name != "original":
            overrides = [f"initial_weights={os.path.join(run_dirs[0], 'model.keras')}"]
        command = f"--config {os.path.relpath(config_path)} --run-dir {run_dir}"
        print(f"\n$ python train.py {command}" + "".join(f" --set {item}" for item in overrides), flush=True)
        config = runs.open_run(run_dir, config_path, overrides)
        experiments.train(run_dir, config)
        print(f"$ python attack.py --run-dir {run_dir}", flush=True)
        experiments.attack(run_dir, config)
    output = os.path.join(parent, "results")
    print(f"\n$ python evaluate.py {' '.join(run_dirs)} --output {output}", flush=True)
    evaluation.evaluate(run_dirs, output)
    print(f"\nThe demo took {(time.monotonic() - start) / 60:.1f} minutes. Table and figures are in {output}.")


if __name__ == "__main__":
    sys.exit(main())

"""The main job on built-in data: train five networks, attack them, print the paper's table and draw its figures.

    python -m tfvn.demo [--run-dir runs/demo]

It does in one process what the commands it prints would do one by one. Run again, it continues where it stopped.
"""
import argparse
import os
import pathlib
import shutil
import sys
import time

from tfvn import cli, data, evaluation, experiments, runs
from tfvn import config as configs

_MODELS = ("original", "sigma_0.01", "sigma_0.02", "sigma_0.05", "sigma_0.1")
_CONFIGS = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "configs", "demo")
# Small enough for minutes, and hard enough (the paper's 15 % of the lines) that the original network is really vulnerable.
_HEIGHT, _WIDTH, _NUM_COILS, _RECEIVER_NOISE = 96, 72, 8, 0.0005


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run-dir", metavar="DIR", default=os.path.join("runs", "demo"), help="where all results go")
    parent = parser.parse_args(argv).run_dir
    return cli.guarded(lambda: demo(parent))


def demo(parent):
    """Runs the demo below the folder `parent`."""
    start = time.monotonic()
    data_path, base = os.path.join(parent, "data"), os.path.join(parent, "base")
    run_dirs = [os.path.join(parent, name) for name in _MODELS]
    write_data(data_path, configs.load(os.path.join(_CONFIGS, "base.yaml")))
    train("base", base, [f"data_path={data_path}"])
    for name, run_dir in zip(_MODELS, run_dirs):
        config = train(name, run_dir, [f"data_path={data_path}", f"initial_weights={base}"])
        print(f"$ python attack.py --run-dir {run_dir}", flush=True)
        experiments.attack(run_dir, config)
    output = os.path.join(parent, "results")
    print(f"\n$ python evaluate.py {' '.join(run_dirs)} --output {output}", flush=True)
    evaluation.evaluate(run_dirs, output)
    print(f"\nThe demo took {(time.monotonic() - start) / 60:.1f} minutes. Table and figures are in {output}")


def write_data(root, config):
    """Writes synthetic slices as a knee folder of MATLAB files, unless it is there.

    Raises:
        ValueError: if the folder holds other slices.
    """
    settings = f"synthetic: {_HEIGHT} x {_WIDTH}, {_NUM_COILS} coils, receiver noise {_RECEIVER_NOISE}\n"
    marker = os.path.join(root, "README")
    if os.path.isdir(root):
        if not os.path.exists(marker) or pathlib.Path(marker).read_text(encoding="utf-8") != settings:
            raise ValueError(f"{root} does not hold this demo's data ({settings.strip()}). Remove {os.path.dirname(root)}.")
        return
    print(f"writing synthetic knees as MATLAB files to {root}", flush=True)
    shutil.rmtree(f"{root}.partial", ignore_errors=True)
    for seed, split in enumerate(("train", "test")):
        patients, slices = (configs.numbers(getattr(config, f"{split}_{what}")) for what in ("patients", "slices"))
        number = len(patients) * len(slices)
        source = data.SyntheticKnee(number, _HEIGHT, _WIDTH, _NUM_COILS, None, _RECEIVER_NOISE, seed)
        data.vlo.write_folder(f"{root}.partial", config.protocol, patients, slices, source)
    with open(os.path.join(f"{root}.partial", "README"), "w", encoding="utf-8") as file:
        file.write(settings)
    os.replace(f"{root}.partial", root)


def train(name, run_dir, overrides):
    """What `train.py` does, after printing its command."""
    config_path = os.path.join(_CONFIGS, f"{name}.yaml")
    print(f"\n$ python train.py --config {os.path.relpath(config_path)} --run-dir {run_dir} --set {' '.join(overrides)}", flush=True)
    config = runs.open_run(run_dir, config_path, overrides)
    experiments.train(run_dir, config)
    return config


if __name__ == "__main__":
    sys.exit(main())

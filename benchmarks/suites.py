"""What suites of attacks reach on a real scan, from several random starts.

    python -m benchmarks.suites [small-1 standard-1] [--seeds 5]

The scan is the 16-coil brain of `../shared/data`, and the network that of its pretrained weights,
at radius 1. `small-1` takes 40 seconds of processor time for each start, and `standard-1` 210.
"""

import argparse
import os
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

from tfvn.attacks import Suite
from tfvn.models.variational import VariationalNetwork

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


def network():
    """The pretrained network."""
    weights = np.load(DATA / "vn_coronal_pd_fs.npz")
    bandwidth, scale = (float(weights[name]) for name in ("rbf_sigma", "rbf_scale"))
    model = VariationalNetwork(10, 48, bandwidth=bandwidth, scale=scale)
    for number, stage in enumerate(model.stages):
        stage.kernel.assign(weights["kernels"][number])
        stage.rbf_weights.assign(weights["rbf_weights"][number])
        stage.data_weight.assign(weights["data_term_weights"][number])
    return model


def measurement():
    """The scan, as a batch of one."""
    scan = np.load(DATA / "vn_case.npz")
    inputs = {key: scan[key][None] for key in ("kspace", "sensitivity_maps")}
    return {**inputs, "mask": scan["mask"][None, None, None]}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("versions", nargs="*", default=["small-1", "standard-1"])
    parser.add_argument("--seeds", type=int, default=5, help="random starts, 5")
    arguments = parser.parse_args()
    if not DATA.is_dir():
        parser.error(f"the scan is not there. Expected: {DATA}")
    model, inputs = network(), measurement()
    for version in arguments.versions:
        effects = []
        for seed in range(arguments.seeds):
            begin = time.process_time()
            result = Suite(version=version, seed=seed).run(model, inputs, 1.0)
            effects.append(float(np.sqrt(2 * result.objective[0])))
            seconds = time.process_time() - begin
            print(f"{version}, seed {seed}: {effects[-1]:.4f} ({seconds:.0f} s)", flush=True)
        spread = 100 * (max(effects) / min(effects) - 1)
        print(f"{version}: {min(effects):.3f} to {max(effects):.3f}, spread {spread:.1f} %")


if __name__ == "__main__":
    main()

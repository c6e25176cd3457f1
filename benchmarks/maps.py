"""Coil maps by ESPIRiT: ours beside BART's and sigpy's, and what they do to a reconstruction.

    python -m benchmarks.maps [--sigpy PYTHON] [--rounds 3] [--small]
    python -m benchmarks.maps --errors ../shared/data

The first times one set of maps of a knee of 15 x 640 x 368, made of 24 lines with windows of 6 x 6.
Every call is a process of its own, and all take turns. Times are those of the processor in the call
itself, without imports, files and the start of a program where there is one. `--sigpy` names the
Python of an environment that has sigpy. Memory is the peak of the process beyond what it had before
the call; of BART, a program, all of it.

The second reconstructs measured brains by CG-SENSE with maps of low resolution and with those of
ESPIRiT.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

SHAPE, SMALL = (15, 640, 368), (4, 64, 48)
_TAIL = """
import json, time
def peak():
    lines = open("/proc/self/status").read().splitlines()
    return 1024 * int([line for line in lines if line.startswith("VmHWM")][0].split()[1])
before, start = peak(), (time.process_time(), time.perf_counter())
maps = call()
seconds, wall = time.process_time() - start[0], time.perf_counter() - start[1]
print(json.dumps(dict(seconds=seconds, wall=wall, memory=peak() - before)))
np.save("{name}.npy", maps)
"""
OURS = """
import numpy as np
from tfvn.data import espirit
kspace = np.load("kspace.npy")
def call():
    return espirit.maps_of(espirit.kernel_of(kspace), kspace).sensitivity_maps[0]
"""
SIGPY = """
import numpy as np, sigpy.mri.app
kspace = np.load("kspace.npy")
def call():
    app = sigpy.mri.app.EspiritCalib(
        kspace, 24, thresh=0.001**0.5, kernel_width=6, crop=0.8, show_pbar=False
    )
    return app.run()
"""
# BART is measured by a small process, as the peak of a child includes its parent.
BART = """
import json, os, resource, sys, time
start = time.perf_counter()
code = os.spawnvp(os.P_WAIT, "bart", ["bart", "ecalib", "-m1", "-r24", "-k6", "kspace", "maps"])
wall = time.perf_counter() - start
used = resource.getrusage(resource.RUSAGE_CHILDREN)
seconds, memory = used.ru_utime + used.ru_stime, 1024 * used.ru_maxrss
print(json.dumps(dict(seconds=seconds, wall=wall, memory=memory)))
sys.exit(code)
"""


def write_cfl(path, kspace):
    """K-space (coils, height, width) as BART reads it: NAME.hdr and NAME.cfl."""
    coils, height, width = kspace.shape
    Path(f"{path}.hdr").write_text(f"# Dimensions\n{height} {width} 1 {coils}\n")
    np.moveaxis(kspace, 0, -1).ravel(order="F").tofile(f"{path}.cfl")


def read_cfl(path, shape):
    """Maps of BART, complex64 (coils, height, width)."""
    coils, height, width = shape
    maps = np.fromfile(f"{path}.cfl", np.complex64).reshape(height, width, coils, order="F")
    return np.moveaxis(maps, -1, 0)


def distance(maps, others):
    """How far the lines through two maps are apart where both are defined, the mean of sines."""
    norms = [np.linalg.norm(side, axis=0) for side in (maps, others)]
    both = (norms[0] > 0) & (norms[1] > 0)
    cosine = np.abs((maps.conj() * others).sum(0))[both] / (norms[0] * norms[1])[both]
    return float(np.sqrt(1 - cosine.clip(0, 1) ** 2).mean())


def programs(sigpy):
    """What is measured, by name: a command."""
    found = {"ours": [sys.executable, "-c", OURS + _TAIL.replace("{name}", "ours")]}
    if shutil.which("bart"):
        found["BART"] = [sys.executable, "-S", "-c", BART]
    if sigpy:
        found["sigpy"] = [sigpy, "-c", SIGPY + _TAIL.replace("{name}", "sigpy")]
    return found


def compare(sigpy="", rounds=3, shape=SHAPE):
    """The best of some rounds: a dict of name to `seconds`, `wall`, `memory` and `distance`."""
    from tfvn.data import SyntheticKnee

    coils, height, width = shape
    kspace = SyntheticKnee(1, height, width, coils, None, 0.002, 0)[0].kspace
    results = {}
    root = str(Path(__file__).resolve().parents[1])
    surroundings = {**os.environ, "PYTHONPATH": root}
    with tempfile.TemporaryDirectory() as folder:
        np.save(f"{folder}/kspace.npy", kspace)
        write_cfl(f"{folder}/kspace", kspace)
        for _ in range(rounds):
            for name, command in programs(sigpy).items():
                done = subprocess.run(
                    command, cwd=folder, check=True, capture_output=True, env=surroundings
                )
                found = json.loads(done.stdout.splitlines()[-1])
                best = results.setdefault(name, found)
                results[name] = {key: min(best[key], found[key]) for key in found}
        ours = np.load(f"{folder}/ours.npy")
        for name in results:
            maps = ours
            if name == "BART":
                maps = read_cfl(f"{folder}/maps", shape)
            elif name == "sigpy":
                maps = np.load(f"{folder}/sigpy.npy")
            results[name]["distance"] = distance(ours, maps)
    return results


def brains(folder):
    """Measured slices, by name: k-space (coils, height, width), of a largest image of 1."""
    import h5py
    import scipy.io

    from tfvn.data.sample import ifft2c

    folder = Path(folder)
    with h5py.File(folder / "brain_16ch_raw.mat") as file:
        raw = file["raw"][()]
    found = {
        "16 coils, 96 x 96": (raw["real"] + 1j * raw["imag"])[:, 0],
        "8 coils, 230 x 180, with noise": np.load(folder / "brain_8ch_clean.npy"),
        "4 coils, 256 x 256": np.moveaxis(
            scipy.io.loadmat(folder / "brain_4ch_mprage.mat")["kData"], -1, 0
        ),
    }
    for name, kspace in found.items():
        kspace = (kspace / np.abs(ifft2c(kspace)).max()).astype(np.complex64)
        if "noise" in name:
            pairs = np.random.default_rng(0).standard_normal((*kspace.shape, 2), np.float32)
            kspace = kspace + np.float32(0.003) * pairs.view(np.complex64)[..., 0]
        found[name] = kspace
    return found


def errors(folder, accelerations=(3, 4)):
    """Yields (name, acceleration, lines, error of each kind of maps), relative to the reference."""
    from tfvn.data.calibration import Calibration
    from tfvn.data.maps import MAPS
    from tfvn.data.sample import combine, ifft2c
    from tfvn.models import CGSense
    from tfvn.physics import masks

    model = CGSense(mu=0.01, iterations=25)
    for name, kspace in brains(folder).items():
        width = kspace.shape[2]
        measured = np.ones((1, 1, width), np.float32)
        for acceleration in accelerations:
            mask = masks.equispaced(width, acceleration, 0.09).reshape(1, 1, width)
            found = []
            for method in MAPS.values():
                calibration = Calibration(method=method())
                maps, lines, _ = calibration.maps(kspace, measured, mask, True)
                full = calibration.maps_of_reference(kspace, measured)
                reference = np.abs(combine(ifft2c(kspace), full))
                inputs = dict(kspace=kspace * mask, sensitivity_maps=maps, mask=mask)
                inputs = {key: np.complex64(value)[None] for key, value in inputs.items()}
                inputs["mask"] = np.float32(mask)[None]
                image = model.reconstruct(model.measured(inputs)).numpy()[0]
                found.append(np.linalg.norm(image - reference) / np.linalg.norm(reference))
            yield name, acceleration, lines, found


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--sigpy", metavar="PYTHON", default="", help="that has sigpy")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--small", action="store_true", help="of 4 x 64 x 48")
    parser.add_argument("--errors", metavar="FOLDER", default="", help="of the measured brains")
    arguments = parser.parse_args()
    if arguments.errors:
        print("| scan | acceleration | centre lines | low_resolution | espirit |")
        print("| --- | ---: | ---: | ---: | ---: |")
        for name, acceleration, lines, found in errors(arguments.errors):
            told = " | ".join(f"{error:.4f}" for error in found)
            print(f"| {name} | {acceleration} | {lines} | {told} |", flush=True)
        return
    shape = SMALL if arguments.small else SHAPE
    print("| maps | processor time | time | memory | distance to ours |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for name, found in compare(arguments.sigpy, arguments.rounds, shape).items():
        print(
            f"| {name} | {found['seconds']:.2f} s | {found['wall']:.2f} s |"
            f" {found['memory'] / 1e9:.2f} GB | {found['distance']:.4f} |"
        )


if __name__ == "__main__":
    main()

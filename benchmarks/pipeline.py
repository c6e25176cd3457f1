"""Seconds a slice of the input pipeline: of raw files, which are read, decoded and prepared, and
from the prepared cache.

    python -m benchmarks.pipeline FOLDER COUNT HEIGHT WIDTH COILS    prints one JSON line

The slices are synthetic, written to FOLDER as MATLAB v5 and v7.3 files of the knee layout and, one
scan a file, as `.h5`. Files that were just written are in the page cache: this measures decoding
and preparing, not the disk.
"""

import json
import sys
import time
from pathlib import Path

import h5py
import numpy as np

from tfvn import config as configs
from tfvn import data
from tfvn.data.synthetic import SyntheticKnee
from tfvn.data.vlo_folder import write_folder


def _seconds_a_slice(sections):
    """Over all slices of some `data` sections, one pass of the test split each."""
    resolved = [configs.load(settings={"data": section}) for section in sections]
    start, count = time.perf_counter(), 0
    for config in resolved:
        for inputs, _ in data.load(config, "test"):
            count += len(inputs["kspace"])
    return (time.perf_counter() - start) / count


def measure(folder, count, height, width, coils):
    folder = Path(folder)
    source = SyntheticKnee(count, height, width, coils, None, 0.002, 0)
    for version in (5, "7.3"):
        write_folder(folder / str(version), "knee", [1], range(count), source, version)
    scans = []
    for index in range(count):
        sample = source[index]
        paths = [folder / f"{name}{index}.h5" for name in ("kspace", "sensitivity_maps")]
        with h5py.File(paths[0], "w") as file:
            file["kspace"] = sample.kspace
        with h5py.File(paths[1], "w") as file:
            file["sensitivity_maps"] = sample.sensitivity_maps
        scan = dict(format="measurement", path=str(paths[0]), sensitivity_path=str(paths[1]))
        scans.append(scan)
    knee = dict(format="vlo", protocol="knee", test_patients="1", test_slices=f"0-{count - 1}")
    sources = {
        "MATLAB v5": [dict(knee, path=str(folder / "5"))],
        "MATLAB v7.3": [dict(knee, path=str(folder / "7.3"))],
        ".h5": scans,
    }
    result = {}
    for name, raw in sources.items():
        prepared = [dict(section, cache_dir=str(folder / "prepared")) for section in raw]
        _seconds_a_slice(prepared)
        result[name] = {"raw": _seconds_a_slice(raw), "prepared": _seconds_a_slice(prepared)}
    return result


if __name__ == "__main__":
    np.seterr(all="raise", under="ignore")
    print(json.dumps(measure(sys.argv[1], *map(int, sys.argv[2:]))), flush=True)

"""The paper's protocol: train several networks, attack each, evaluate them together. The demo and
the paper's own run use it.

It does in one process what the commands it prints would do one by one. Run again, it continues
where it stopped.
"""

import csv
import gc
import os
import pathlib
import resource
import shutil
import sys
import time

from tfvn import config as configs
from tfvn import data, outputs
from tfvn.data.files import replacing
from tfvn.results import evaluate as results
from tfvn.runs import directory, experiments

__all__ = [
    "CONFIGS",
    "MODELS",
    "Stopwatch",
    "attack",
    "compare",
    "evaluate",
    "train",
    "write_knees",
]

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
# Installed inside the package (setup.py), in a checkout beside it.
_PLACES = (os.path.join(_PACKAGE, "configs"), os.path.join(os.path.dirname(_PACKAGE), "configs"))
CONFIGS = next((place for place in _PLACES if os.path.isdir(place)), _PLACES[-1])
MODELS = ("original", "sigma_0.01", "sigma_0.02", "sigma_0.05", "sigma_0.1")


def write_knees(root, config, size, receiver_noise, version=5):
    """Writes synthetic slices as the knee folder that `config` asks for, unless it is there.

    Args:
        root: the folder.
        size: (height, width, coils).
        receiver_noise: of `SyntheticKnee`.
        version: of the MATLAB files, as for `data.vlo.write_folder`.

    Raises:
        ValueError: if the folder holds other slices.
    """
    height, width, coils = size
    chosen = {
        f"{split}_{what}": getattr(config, f"{split}_{what}")
        for split in ("train", "test")
        for what in ("patients", "slices")
    }
    settings = f"synthetic: {height} x {width}, {coils} coils, receiver noise {receiver_noise}\n"
    told = ", ".join(f"{key} {value}" for key, value in chosen.items())
    marker = os.path.join(root, "README")
    if os.path.isdir(root):
        found = pathlib.Path(marker).read_text(encoding="utf-8") if os.path.exists(marker) else ""
        # The first version of this file did not tell the slices.
        if found not in (settings, settings + told):
            raise ValueError(
                f"{root} does not hold these data: {settings}{told}. Remove that folder, or use"
                " another --run-dir."
            )
        return
    print(f"writing synthetic knees as MATLAB files to {root}", flush=True)
    shutil.rmtree(f"{root}.partial", ignore_errors=True)
    for seed, split in enumerate(("train", "test")):
        patients, slices = (
            configs.numbers(chosen[f"{split}_{what}"]) for what in ("patients", "slices")
        )
        source = data.SyntheticKnee(
            len(patients) * len(slices), height, width, coils, None, receiver_noise, seed
        )
        data.vlo.write_folder(f"{root}.partial", config.protocol, patients, slices, source, version)
    with open(os.path.join(f"{root}.partial", "README"), "w", encoding="utf-8") as file:
        file.write(settings + told)
    os.replace(f"{root}.partial", root)


def train(config_path, run_dir, overrides):
    """What `train.py` does, after printing its command, on data that are whole: written here, or
    checked. Returns the configuration."""
    words = ["--config", os.path.relpath(config_path), "--run-dir", directory.as_argument(run_dir)]
    print(
        f"\n$ {directory.command('python', 'train.py', *words, *(['--set', *overrides] if overrides else []))}",
        flush=True,
    )
    config = directory.open_run(run_dir, config_path, overrides)
    experiments.train(run_dir, config, checked=True)
    # Keras models are cycles of references, and this one's data set holds batches.
    gc.collect()
    return config


def attack(run_dir, config):
    """What `attack.py` does, after printing its command."""
    print(
        f"$ {directory.command('python', 'attack.py', '--run-dir', directory.as_argument(run_dir))}",
        flush=True,
    )
    experiments.attack(run_dir, config)


def evaluate(run_dirs, output):
    """What `evaluate.py` does, after printing its command."""
    places = [directory.as_argument(place) for place in (*run_dirs, output)]
    print(
        f"\n$ {directory.command('python', 'evaluate.py', *places[:-1], '--output', places[-1])}",
        flush=True,
    )
    return results.evaluate(run_dirs, output)


def compare(table_path, printed_path, output):
    """Writes the printed values beside the measured ones, with the differences, as Markdown.

    Args:
        table_path: `table1.csv` of an evaluation.
        printed_path: CSV of `model`, `radius` (0: clean), `metric` (a column of the table),
            `value`.
        output: file to write.

    Raises:
        ValueError: if a printed value has no number, or names a column that the table does not
            have, or if `output` is a file that this did not write.
    """
    outputs.check_replaceable(os.path.dirname(output) or os.curdir, [os.path.basename(output)])
    with open(table_path, newline="", encoding="utf-8") as file:
        table = {
            (row["model"], float(row["radius"])): row
            for row in csv.DictReader(file)
            if row["attack"] in ("none", "l2")
        }
    lines = [
        "| model | radius | metric | printed | here | difference |",
        "| --- | ---: | --- | ---: | ---: | ---: |",
    ]
    with open(printed_path, newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            try:
                radius, printed = float(row["radius"]), float(row["value"])
                entry = table.get((row["model"], radius))
                here = float(entry[row["metric"]]) if entry else float("nan")
            except (KeyError, TypeError, ValueError) as error:
                raise ValueError(
                    f"{printed_path}: expected model, radius, metric, value. Received: {dict(row)}"
                    f" ({error})"
                ) from error
            cells = (
                row["model"],
                f"{radius:g}",
                row["metric"],
                f"{printed:g}",
                f"{here:.3g}",
                f"{here - printed:+.3g}",
            )
            lines.append(
                "| " + " | ".join("-" if cell in ("nan", "+nan") else cell for cell in cells) + " |"
            )
    with replacing(output) as temporary, open(temporary, "w", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")
    print(f"wrote {output}\n\n" + "\n".join(lines))


_COLUMNS = ("what", "units", "seconds", "seconds_per_unit", "peak_bytes")


class Stopwatch:
    """Seconds of the units of work of a run, and the peak memory of the process, printed and kept
    in a CSV file.
    """

    def __init__(self, path):
        self.path, self.rows = path, []
        outputs.check_replaceable(os.path.dirname(path) or os.curdir, [os.path.basename(path)])
        if os.path.exists(path):
            with open(path, newline="", encoding="utf-8", errors="replace") as file:
                # As far as the lines are whole.
                self.rows = [
                    row
                    for row in csv.DictReader(file)
                    if set(row) == set(_COLUMNS) and None not in row.values()
                ]

    def measure(self, what, units, work):
        """Calls `work()`, which does `units` units."""
        start = time.monotonic()
        result = work()
        seconds = time.monotonic() - start
        # Kilobytes, but bytes on macOS.
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (
            1 if sys.platform == "darwin" else 1024
        )
        each = f"{seconds / max(units, 1):.3g}"
        row = dict(zip(_COLUMNS, (what, units, f"{seconds:.1f}", each, peak)))
        self.rows.append(row)
        print(
            f"{what}: {seconds:.0f} s, {each} s each of {units}; peak memory so far"
            f" {peak / 1e9:.2f} GB",
            flush=True,
        )
        with (
            replacing(self.path) as temporary,
            open(temporary, "w", newline="", encoding="utf-8") as file,
        ):
            writer = csv.DictWriter(file, fieldnames=_COLUMNS)
            writer.writeheader()
            writer.writerows(self.rows)
        return result

"""Made-up rows of a board, for tests of what is told of them."""

import math

import numpy as np
from test_report import row

from tfvn.leaderboard import board as boards
from tfvn.leaderboard import told

TEXT = """\
title: {title}
version: made-1
data: {{format: synthetic, height: 20, width: 16, num_coils: 2, num_train: 2, num_test: 3}}
sampling: {{mask: equispaced, acceleration: 2}}
attacks:
  - {{name: ascent, sizes: [0.5, 1.0, 2.5], steps: 1}}
  - {{name: power, sizes: [0.5, 1.0, 2.5], steps: 1}}
rows:
{rows}"""
ATTACKS = [(kind, radius) for kind in ("l2", "power-l2") for radius in (0.5, 1.0, 2.5)]


def board_of(folder, *names, title="made up"):
    """A `Board` of a file whose rows have these names and no training."""
    lines = []
    for name in names:
        settings = "config: c.yaml, set: [training.iterations=0]"
        lines.append(f"  - {{name: {quoted(name)}, {settings}}}\n")
    (folder / "c.yaml").write_text("seed: 3\n", encoding="utf-8")
    path = folder / "board.yaml"
    path.write_text(TEXT.format(title=quoted(title), rows="".join(lines)), encoding="utf-8")
    return boards.read(path)


def quoted(text):
    """A text in YAML."""
    return "'" + text.replace("'", "''") + "'"


def flag(name="black box wins", state="passed", found=0.0):
    """A flag as a summary holds it."""
    where = {"slice": 1, "size": 1.0, "attack": "power-l2", "rule": "A rule.", "note": "a note"}
    return {"model": "m", "flag": name, "state": state, "found": found, "limit": 0.01, **where}


def known(seed=0, track="deterministic", **changes):
    """What a summary says of a row whose numbers are random."""
    rng = np.random.default_rng(seed)
    rows = []
    for index in range(3):
        for attack in [("none", 0.0), *ATTACKS]:
            one = row("m", index, *attack, True, rng)
            rows.append({**one, "name": f"slice {index}", "track": track})
    model = {"class": "ZeroFilled", "parameters": 12, "draws": 0, "track": track}
    model.update(seconds_a_slice=0.5, seed=0, settings={}, training={}, trained_on=None)
    hashes = {"training": "5e", "model": "6e", "data": "7e" * 32, "attacks": {"l2": "8e"}}
    found = {
        "rows": rows,
        "patients": ["a", "a", "b"],
        "hashes": {"row": f"{seed:024x}", **hashes},
        "model": {**model, "defence": {"name": "none"}},
        "flags": [flag()],
        "proved": [{"radius": 1.0, "bound": 1.5}, {"radius": 2.5, "bound": math.inf}],
        "certificates": [],
        "origin": {"tfvn": "0"},
    }
    return {**found, **changes}


def told_of(board, summaries, transferred=()):
    """The rows of a board of such summaries, one for each entry."""
    found = []
    for entry, summary in zip(board.entries, summaries):
        found.append(told.row_of(board, entry, summary, dict(transferred)))
    return found

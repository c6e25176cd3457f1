"""Changes of the image that anybody has found for a row: `--submit-perturbation FILE.h5`.

    write("mine.h5", r, radius=2.5, row="runs/leaderboard/small/rows/U-Net-0a1b2c3d.json", by="me")

A file holds `r`, complex (slices, rows, width), one change for each test slice, and as attributes
`format`, `radius`, `by`, `note`, and the hashes of the row, of its network and of the data. A slice
without a change has zeros. The norm || r_i ||_2 of each slice is at most the radius, in double
precision.

What is submitted is measured as the changes found for other rows are: the model of the row answers
with its own draws. It raises the best known error of the row where it does more than all that was
known. It is stored under the hash of what it is, and so never twice.
"""

import contextlib
import hashlib
import os
from typing import NamedTuple

import h5py
import numpy as np
import tensorflow as tf

from tfvn import checks, data, files, metrics
from tfvn.leaderboard import addresses, schema, store
from tfvn.leaderboard.board import read
from tfvn.leaderboard.entrant import entrant_of
from tfvn.results import measure
from tfvn.results.candidates import cases
from tfvn.results.transfer import answer_to
from tfvn.runs import attack_files, directory, locks

__all__ = ["FORMAT", "Submission", "opened", "submit", "submitted", "write"]

FORMAT = "tfvn-perturbation-1"
# Of the radius: rounding is no way out of the ball.
_TOLERANCE = 1e-6
_HASHES = ("row", "model", "data")
_TEXTS = ("format", "by", "note")
_LONGEST = 500


class Submission(NamedTuple):
    """What a file holds.

    r: complex (slices, rows, width).
    radius: of the balls.
    hashes: a dict of `row`, `model` and `data`, as rows have them.
    by, note: who found it, and what there is to say of it.
    """

    r: np.ndarray
    radius: float
    hashes: dict
    by: str
    note: str

    @property
    def digest(self):
        """The hash of what was found, whoever found it."""
        # 0 and -0 are the same change.
        single = np.ascontiguousarray(self.r.astype(np.complex64)) + 0
        content = hashlib.sha256(single.tobytes()).hexdigest()
        return addresses.digest("perturbation", self.hashes, self.radius, content)


def write(path, r, radius, row, by, note=""):
    """Writes a file for `--submit-perturbation`.

    Args:
        path: the file, `.h5`.
        r: complex (slices, rows, width), in units of images of maximum 1: one change for each test
            slice of the board, zeros for none.
        radius: one of the board's. No || r_i ||_2 may be larger.
        row: the row, as the dict of its JSON or the path of that file.
        by: who found it.
        note: what there is to say of it, such as the attack.

    Raises:
        ValueError: for something that is no row, and for changes that do not fit it or the radius.
    """
    if not isinstance(row, dict):
        path_of_row, row = row, store.read_json(row)
        if row is None:
            raise ValueError(f"{path_of_row} is no row. Name a file of the board's folder `rows`.")
    schema.check(row)
    hashes = {name: row["hashes"][name] for name in _HASHES}
    one = Submission(np.asarray(r), float(radius), hashes, by, note)
    _check_texts(one)
    _check_radius(one.radius, [each["radius"] for each in row["worst"]])
    if len(one.r) != row["slices"]:
        raise ValueError(f"r must have {row['slices']} slices. Received: r.shape={one.r.shape}")
    _check_changes(one)
    _write(path, one)


def _write(path, one):
    with files.writing_hdf5(path) as file:
        file["r"] = one.r
        texts = {"format": FORMAT, "by": one.by, "note": one.note, "radius": one.radius}
        for name, value in texts.items():
            file.attrs[name] = value
        for name, value in one.hashes.items():
            file.attrs[f"{name}_hash"] = value


def opened(path):
    """The `Submission` of a file.

    Raises:
        ValueError: for a file that is none, is damaged, or holds no changes inside its radius.
    """
    try:
        with h5py.File(path, "r") as file:
            one = _read(file)
    # Readers of damaged files raise nearly anything.
    except Exception as error:
        raise ValueError(
            f"{path}: no file of tfvn.leaderboard.submission.write, or damaged"
            f" ({type(error).__name__}: {str(error)[:200]}). Write it with that function."
        ) from error
    with _naming(path):
        _check_texts(one)
        _check_changes(one)
    return one


@contextlib.contextmanager
def _naming(path):
    """Errors begin with the file that is wrong."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _read(file):
    texts = {name: str(file.attrs[name]) for name in _TEXTS}
    if texts["format"] != FORMAT:
        raise ValueError(f"its format is {checks.shown(texts['format'])}, and not {FORMAT}")
    hashes = {name: str(file.attrs[f"{name}_hash"]) for name in _HASHES}
    r = attack_files.stored_array(file, "r")
    return Submission(r, float(file.attrs["radius"]), hashes, texts["by"], texts["note"])


def submit(path, output, given):
    """Checks, measures and stores what was found for a row of a board.

    Args:
        path: the YAML file of the board.
        output: the folder of its results.
        given: the file that `write` made.

    Returns:
        What is known of it now, a dict as of `submitted`.

    Raises:
        ValueError: for a wrong file, one of another row, network or data, a row that has not been
            computed yet, one that was submitted before, and if another process computes there.
            Nothing is stored then.
    """
    one = opened(given)
    board = read(path)
    if not os.path.isdir(output):
        raise ValueError(
            f"{output} is not there: no row has been computed. Compute the board first, or name"
            " the folder of its results (--output)."
        )
    with locks.alone(output, "computes a leaderboard in it"), _naming(given):
        _check_radius(one.radius, board.radii())
        entrant = _entrant_of(board, store.Store(output), one)
        target = os.path.join(_folder(entrant.run_dir), f"{one.digest}.json")
        earlier = store.read_json(target)
        if earlier is not None:
            raise ValueError(f"it was submitted before, by {checks.shown(earlier['by'])}.")
        found = {"by": one.by, "note": one.note, "radius": one.radius}
        found["results"] = _measured(entrant, one)
        directory.make_folder(_folder(entrant.run_dir))
        # The numbers last: whatever has them is done.
        _write(target.replace(".json", ".h5"), one)
        store.write_json(target, found)
    rmse = np.sqrt(np.mean([np.square(each["rmse"]) for each in found["results"]]))
    print(f"stored {target}: RMSE {rmse:.4g} at radius {one.radius:g}")
    return {"hash": one.digest, **found}


def submitted(folder):
    """What has been submitted for a row, in the order of the hashes.

    Args:
        folder: of the row.

    Returns:
        A list of dicts: `hash`, `by`, `note`, `radius`, and `results`, a list of dicts of `slice`,
        `radius`, `effect` and `rmse`.
    """
    if not os.path.isdir(_folder(folder)):
        return []
    found = []
    for name in sorted(os.listdir(_folder(folder))):
        stem, suffix = os.path.splitext(name)
        if suffix != ".json":
            continue
        path = os.path.join(_folder(folder), name)
        known = store.read_json(path)
        if known is None:
            raise ValueError(f"{path} is damaged. Remove it, and submit the change again.")
        found.append({"hash": stem, **known})
    return found


def _folder(row):
    return os.path.join(row, "submitted")


def _entrant_of(board, there, one):
    """The `Entrant` of the row that a `Submission` is for.

    Raises:
        ValueError: if the board has no such row, it has not been computed, or its network or its
            data are others.
    """
    for entry in board.entries:
        folder = there.row(entry.config)
        if os.path.basename(folder) == one.hashes["row"]:
            break
    else:
        raise ValueError(
            f"it is for the row of hash {one.hashes['row'][:12]}, and the board has none. A row is"
            " another one with other data, training or defence. Write it again, for a row of this"
            " board."
        )
    known = store.read_json(os.path.join(folder, store.name_of_row(entry.config)))
    if known is None:
        raise ValueError(
            f"the row {checks.shown(entry.name)} has not been computed yet. Compute the board"
            " first."
        )
    for name, what in (("model", "the network"), ("data", "the test data")):
        own, here = one.hashes[name], known["hashes"][name]
        if own != here:
            raise ValueError(
                f"its hash of {what} is {own[:12]}, and that of the row {here[:12]}. Make the"
                " changes for what the row has."
            )
    return entrant_of(folder, there.resolved(entry.config))


def _measured(entrant, one):
    """What the changes do to each slice, as dicts of `slice`, `radius`, `effect` and `rmse`."""
    every = list(cases(entrant.config, data.source(entrant.config, "test")))
    shape = (len(every), *every[0].reference.shape[1:])
    if one.r.shape != shape:
        raise ValueError(f"r must have the shape {shape}. Received: r.shape={one.r.shape}")
    model = measure.load(entrant).model
    found = []
    for case in every:
        r = tf.convert_to_tensor(one.r[case.index].astype(np.complex64))[None]
        image = answer_to(model, case, r)
        effect = float(tf.norm(image - answer_to(model, case, None)))
        rmse = float(np.squeeze(metrics.error_norm(image, case.reference)))
        if not np.isfinite(effect):
            raise ValueError(
                f"the answer to slice {case.index} is not finite, and has no error. Report it as a"
                " fault of the model."
            )
        found.append({"slice": case.index, "radius": one.radius, "effect": effect, "rmse": rmse})
    return found


def _check_texts(one):
    """Checks who found it, and what is said of it."""
    for name in ("by", "note"):
        text = getattr(one, name)
        if not isinstance(text, str) or len(text) > _LONGEST:
            raise ValueError(
                f"{name} must be a text of at most {_LONGEST} letters. Received:"
                f" {name}={checks.shown(text)}"
            )
    if not one.by.strip():
        raise ValueError("by must say who found the changes. Received: by=''")


def _check_radius(radius, radii):
    if radius not in radii:
        told = ", ".join(f"{each:g}" for each in radii)
        raise ValueError(
            f"radius must be one of the board's: {told}. Received: radius={checks.shown(radius)}"
        )


def _check_changes(one):
    """Checks that all changes are finite images inside the ball, in double precision."""
    r = one.r
    if r.ndim != 3 or r.dtype.kind != "c" or not r.size:
        raise ValueError(
            "r must be complex (slices, rows, width). Received: "
            f"r.dtype={r.dtype}, r.shape={r.shape}"
        )
    norms = np.linalg.norm(r.reshape(len(r), -1).astype(np.complex128), axis=1)
    # A NaN is no small norm.
    outside = np.flatnonzero(~(norms <= one.radius * (1 + _TOLERANCE)))
    if len(outside):
        index = int(outside[0])
        raise ValueError(
            f"|| r ||_2 must be finite and at most the radius {one.radius:g}. Received: slice"
            f" {index} of norm {norms[index]:.9g}"
        )

"""Pictures of the middle slice, as each row answers it: clean, attacked, and how far that moved.

The attack is the one that the row errs most under, at the radius of the ranks. Grey values go from
0 to the window, the 99.9th percentile of the true image, so that all rows are seen alike. The
difference, attacked less clean, goes from blue to red, over plus and minus a quarter of the window.

A picture is a PNG of a byte a pixel. One of more than 256 x 256 pixels is made smaller by a whole
factor, by means of blocks, so that a page of 30 rows stays below 10 MB.
"""

import base64
import io
import math
import os

import matplotlib
import numpy as np
from PIL import Image

from tfvn import attacks, data
from tfvn.leaderboard import addresses, store
from tfvn.results import measure
from tfvn.results.candidates import cases
from tfvn.results.rows import is_clean, is_in_ball, size_of
from tfvn.results.transfer import answer_to

__all__ = ["path_of", "pictures_of", "png", "shrunk"]

_WINDOW, _GAIN = 99.9, 4
_MOST_PIXELS = 256 * 256


def pictures_of(entrant, digest, rows, radius, load=measure.load):
    """The pictures of a row, read or computed.

    Args:
        entrant: the `tfvn.leaderboard.entrant.Entrant`.
        digest: the hash of its network.
        rows: what was measured of it, as in `results.csv`.
        radius: of the l2 balls.
        load: what gives the `tfvn.results.measure.Loaded` model of an `Entrant`.

    Returns:
        A dict that JSON knows: `slice`, `name`, `attack`, `radius`, `window`, `factor`, the errors
        `clean_rmse` and `rmse`, and `pictures`, a dict from `reference`, `clean`, `attacked` and
        `difference` to PNGs as base64. Without a true image `reference` is missing.
    """
    path = path_of(entrant, radius)
    found = store.read_json(path)
    if found is None:
        found = _computed(entrant, digest, rows, radius, load)
        store.write_json(path, found)
    return found


def path_of(entrant, radius):
    """The file of the pictures of an `Entrant`."""
    stem = f"{addresses.of_attacks(entrant.config)}-{radius:g}.json"
    return os.path.join(entrant.run_dir, "shown", stem)


def _computed(entrant, digest, rows, radius, load):
    source = data.source(entrant.config, "test")
    count = len(source)
    (case,) = cases(entrant.config, source, start=count // 2, step=count)
    own = [row for row in rows if row["slice"] == case.index and is_in_ball(row)]
    (clean,) = [row for row in own if is_clean(row)]
    worst = _worst(own, radius)
    model = load(entrant).model
    images = _images(model, entrant, digest, case, worst["attack"], radius)
    window = _window(images)
    return {
        "slice": case.index,
        "name": case.name,
        "attack": worst["attack"],
        "radius": radius,
        "window": float(f"{window:.6g}"),
        "factor": _factor(images["clean"].shape),
        "clean_rmse": _number(clean["rmse"]),
        "rmse": _number(worst["rmse"]),
        "pictures": _pictures(images, window),
    }


def _worst(rows, radius):
    """The row of a slice with the largest error in the ball of a radius."""
    attacked = [row for row in rows if not is_clean(row) and size_of(row) == radius]
    return max(attacked, key=lambda row: (np.nan_to_num(row["rmse"]), row["effect"]))


def _images(model, entrant, digest, case, kind, radius):
    """The answer to a slice, clean and attacked, and the true image where it is known."""
    nothing = attacks.IMAGE.zero(model.sense, case.inputs)
    r = entrant.perturbation(kind, radius, case, digest, nothing)
    found = {}
    for name, change in (("clean", None), ("attacked", r)):
        found[name] = np.asarray(answer_to(model, case, change))[0]
    reference = np.abs(np.asarray(case.reference))[0]
    if np.isfinite(reference).all():
        found["reference"] = reference
    return found


def _window(images):
    """The value that is white in all pictures."""
    shown = images.get("reference", images["clean"])
    return max(float(np.percentile(shown, _WINDOW)), 1e-12)


def _pictures(images, window):
    found = {name: png(shrunk(image) / window) for name, image in images.items()}
    change = shrunk(images["attacked"] - images["clean"]) / window
    found["difference"] = png(0.5 + 0.5 * _GAIN * change, colours="RdBu_r")
    return found


def _number(value):
    return float(f"{value:.6g}") if math.isfinite(value) else None


def _factor(shape):
    """By what whole number the sides of an image are divided."""
    return max(1, math.ceil(math.sqrt(shape[0] * shape[1] / _MOST_PIXELS)))


def shrunk(image):
    """An image (rows, width), made smaller where it is large. The ends of uneven sides are lost."""
    factor = _factor(image.shape)
    rows, width = (size // factor for size in image.shape)
    blocks = image[: rows * factor, : width * factor].reshape(rows, factor, width, factor)
    return blocks.mean((1, 3))


def png(image, colours=""):
    """An image whose values from 0 to 1 are shown, as a PNG in base64.

    Args:
        image: (rows, width).
        colours: the name of a colour map; "": grey.
    """
    levels = np.clip(np.rint(255 * np.nan_to_num(image)), 0, 255).astype(np.uint8)
    picture = Image.fromarray(levels)
    if colours:
        palette = matplotlib.colormaps[colours](np.arange(256), bytes=True)[:, :3]
        picture.putpalette(palette.tobytes())
    stream = io.BytesIO()
    picture.save(stream, format="PNG", optimize=True)
    return base64.b64encode(stream.getvalue()).decode()

"""The images of the report, as its viewer needs them.

Images are kept as multiples of a slice's window / 1024; the window is the grey value shown white,
the 99.9th percentile of the truth. All differences are computed from these in the page. So one
image each is stored, and a difference is exact to a thousandth of the window, where that of two
8-bit images would show their steps.
"""

import base64
import zlib

import h5py
import matplotlib
import numpy as np

__all__ = ["pack", "size_of_images", "viewer"]

# Grey levels up to the window: a level more or less is not seen, in differences neither, at any
# gain below 64.
_LEVELS = 1024
# Of the images, as text in the file: a browser opens such a page within seconds.
_MOST_BYTES = 60e6
_SCORES = ("rmse", "ssim", "nrmse", "psnr", "effect", "norm")


def viewer(images_path, rows, models, labels):
    """What the page's viewer of images needs: a dict for JSON.

    Args:
        images_path: `reconstructions.h5`.
        rows, models, labels: as for `tfvn.results.charts.charts_of`.
    """
    scores = {(row["model"], row["slice"], row["dataset"]): _scores(row) for row in rows}
    slices, spreads = [], []
    with h5py.File(images_path, "r") as file:
        names = sorted(file["slices"])
        hashes = {name: str(file[f"models/{name}"].attrs["model_hash"]) for name in models}
        for index in _shown(file, names, models, labels):
            entry, spread = _slice(file, names[index], models, labels)
            entry["scores"] = []
            for model in models:
                entry["scores"].append([scores.get((model, index, label)) for label in labels])
            slices.append(entry)
            spreads.extend(spread)
    return {
        "slices": slices,
        "left_out": len(names) - len(slices),
        "megabytes": f"{_MOST_BYTES / 1e6:g}",
        "models": models,
        "conditions": list(labels.values()),
        "levels": _LEVELS,
        "gain": _gain(spreads),
        "map": matplotlib.colormaps["RdBu_r"](np.arange(256), bytes=True)[:, :3].tolist(),
        "hashes": hashes,
    }


def _scores(row):
    """The numbers below an image; None where there is none, as JSON has no NaN."""
    numbers = dict.fromkeys(_SCORES)
    for key in _SCORES:
        if np.isfinite(row[key]):
            numbers[key] = float(row[key])
    return numbers


def _shown(file, names, models, labels):
    """The numbers of the slices for which there is room, evenly spread."""
    middle = len(names) // 2
    entry, _ = _slice(file, names[middle], models, labels)
    count = int(min(len(names), _MOST_BYTES // size_of_images(entry)))
    if count <= 1:
        # That of the figures.
        return [middle]
    return [round(position) for position in np.linspace(0, len(names) - 1, count)]


def _gain(spreads):
    """The power of two at which most differences use most of the scale."""
    if not spreads:
        return 4
    exponent = np.floor(-np.log2(max(np.median(spreads), 1e-6)))
    return 2 ** int(np.clip(exponent, 0, 5))


def _slice(file, name, models, labels):
    """A slice's images, packed, and the sizes of each model's differences.

    The sizes are shares of the window.
    """
    group = file[f"slices/{name}"]
    shared = {key: group[key][()] for key in ("reference", "zero_filled") if key in group}
    own = []
    for model in models:
        own.append([_image(file, f"models/{model}/{name}/{label}") for label in labels])
    truth = shared.get("reference", own[0][0])
    window = max(float(np.percentile(truth, 99.9)), 1e-12)
    step = window / _LEVELS
    spreads, packed = [], []
    for images in own:
        spreads += [spread / window for spread in _spreads(images, shared.get("reference"))]
        packed.append([_packed(image, step) for image in images])
    entry = {
        "name": str(group.attrs["name"]),
        "height": truth.shape[0],
        "width": truth.shape[1],
        "window": window,
        "shared": {key: pack(image, step) for key, image in shared.items()},
        "images": packed,
    }
    return entry, spreads


def _image(file, name):
    if name not in file:
        return None
    return file[name][()]


def _packed(image, step):
    if image is None:
        return None
    return pack(image, step)


def _spreads(images, reference):
    """How far a model's attacked images are from the truth and from its clean one.

    Args:
        images: of one model, the clean one first; None for one that is missing.
        reference: the truth; None without one.
    """
    clean, *attacked = images
    spreads = []
    for image in attacked or images:
        for other in (reference, clean):
            if image is not None and other is not None and other is not image:
                spreads.append(float(np.percentile(np.abs(image - other), 99.5)))
    return spreads


def size_of_images(entry):
    """The number of letters that a slice's packed images take."""
    size = sum(map(len, entry["shared"].values()))
    for images in entry["images"]:
        size += sum(len(text) for text in images if text)
    return size


def pack(image, step):
    """A real image (rows, width) >= 0 as text, in whole multiples of `step` below 2**16.

    The text is base64 of zlib of the differences to the left neighbours. Their signs are folded
    (0, -1, 1, -2, ...), and the low bytes of all pixels come before the high ones.
    """
    values = np.clip(np.rint(np.nan_to_num(image) / step), 0, 65535).astype(np.uint16)
    differences = np.diff(values, axis=1, prepend=np.uint16(0)).view(np.int16)
    folded = ((differences << 1) ^ (differences >> 15)).view(np.uint16)
    low = (folded & 255).astype(np.uint8)
    high = (folded >> 8).astype(np.uint8)
    return base64.b64encode(zlib.compress(low.tobytes() + high.tobytes(), 9)).decode()

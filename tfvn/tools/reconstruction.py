"""What `python -m tfvn reconstruct` does: the slices of a scan through a trained network, to HDF5
and to images.
"""

import contextlib
import dataclasses
import importlib.metadata
import os
import tempfile
from typing import NamedTuple, Optional

import numpy as np
from PIL import Image, PngImagePlugin

from tfvn import data, progress, ranges
from tfvn.data.measurement import scan_shape
from tfvn.figures import scans
from tfvn.files import replacing, writing_hdf5
from tfvn.models.network_files import load_model
from tfvn.runs import trained_on
from tfvn.runs.models import model_hash, predictor, with_readout_oversampling

__all__ = ["Slice", "reconstruct", "write"]

# Brighter pixels, a thousandth of all, are white too: a single bright vessel would darken all else.
_WHITE = 99.9


class Slice(NamedTuple):
    """One reconstructed slice; images are float32 (rows, width), in the units of the scan's own
    zero-filled image.

    number: in the file.
    magnitude: the reconstruction.
    standard_deviation: of the smoothed network's draws, pixel by pixel; None for a plain network.
    zero_filled: |A^H k|.
    scale: max |A^H k|, by which k-space was divided for the network.
    maps_origin: where the coil maps come from, in words.
    """

    number: int
    magnitude: np.ndarray
    standard_deviation: Optional[np.ndarray]
    zero_filled: np.ndarray
    scale: float
    maps_origin: str = ""


def reconstruct(network, config, numbers=None, model_path=None):
    """Yields a `Slice` for each slice of a scan.

    The noise of a smoothed network is another for each slice of the file, the same whichever others
    are reconstructed.

    Args:
        network: a `VariationalNetwork`.
        config: a `tfvn.config.Config` of `dataset: measurement`. sigma > 0 smooths the network,
            with num_samples draws.
        numbers: slices of the file, from 0 on; None: all.
        model_path: where the network is from; what it was trained on is compared with the middle
            one of the slices.

    Raises:
        ValueError: for a scan that cannot be read or used; for a single draw.

    Warns:
        tfvn.data.DataWarning: where scan and network do not belong together, see `tfvn.runs.trained_on`, and as
            `tfvn.data.Measurement`.
    """
    if config.sigma and config.num_samples < 2:
        raise ValueError(
            "a standard deviation needs num_samples >= 2. Received:"
            f" num_samples={config.num_samples}"
        )
    model = predictor(network, config)
    if numbers is None:
        numbers = range(scan_shape(config.data_path, config.coil_axis, config.data_array)[0])
    for position, number in enumerate(numbers):
        compared = model_path if position == len(numbers) // 2 else None
        try:
            found = _reconstruct_slice(network, model, config, number, compared)
        except ValueError as error:
            raise ValueError(f"slice {number}: {error}") from error
        yield found


def _reconstruct_slice(network, model, config, number, model_path):
    source = data.source(dataclasses.replace(config, slice_index=number))
    sample, scale = data.normalise(source[0], source.name(0), config.readout_oversampling)
    if model_path:
        trained_on.warn(
            model_path, sample, f"{config.data_path}, slice {number}", config.readout_oversampling
        )
    inputs = {name: getattr(sample, name)[None] for name in ("kspace", "sensitivity_maps", "mask")}
    if network.dtype == "float64":
        inputs = {
            name: array.astype(np.result_type(array.dtype, np.float64))
            for name, array in inputs.items()
        }
    inputs["sample_index"] = np.int32([number])
    inputs["zero_filled"] = model.zero_filled(inputs)
    images = (
        model.reconstruct_with_deviation(inputs)
        if config.sigma
        else (model.reconstruct(inputs), None)
    )
    images = [
        None if x is None else np.float32(scale * x[0])
        for x in (*images, np.abs(inputs["zero_filled"]))
    ]
    return Slice(number, *images, float(scale), source.maps_origin)


def write(
    model_path, config, slices, outputs, overwrite=False, readout_oversampling=None, command=""
):
    """Reconstructs slices of a scan and writes them. Nothing is written unless all are done; each
    file is written whole.

    `.h5` holds `reconstruction`, `zero_filled` and, of a smoothed network, `standard_deviation`,
    float32 (slices, rows, width), and as attributes what they were made of. `.png` is the
    magnitude, 8 bit: 0 is black, the 99.9th percentile of all slices white. Of several slices there
    is a file each, name_000.png; of a smoothed network another with the standard deviation,
    name_std.png.

    Args:
        model_path: as for `load_model`.
        config: as for `reconstruct`.
        slices: numbers such as '0-3,7', or 'all'.
        outputs: paths that end in .h5 or .png.
        overwrite: whether files that are there may be replaced.
        readout_oversampling: whether images are the central half of the height; None: as the model
            was trained.
        command: kept in the `.h5` file.

    Raises:
        ValueError: for wrong input; before any work if an output cannot be written, is there
            already, or is an input.
    """
    count, *shape = scan_shape(config.data_path, config.coil_axis, config.data_array)
    counts = f"{_counted(count, 'slice')} of {_counted(shape[0], 'coil')}"
    print(f"{config.data_path}: {counts}, {shape[1]} x {shape[2]}")
    numbers = list(range(count)) if slices == "all" else ranges.numbers(slices)
    if max(numbers) >= count:
        raise ValueError(
            f"{config.data_path}: the file holds the slices 0 to {count - 1}. Received:"
            f" slices={slices}"
        )
    paths = [path for output in outputs for path in _paths(output, numbers, config.sigma)]
    _check_outputs(
        paths, (config.data_path, config.sensitivity_path, config.mask_path, model_path), overwrite
    )
    network = load_model(model_path)
    if readout_oversampling is not None:
        network = with_readout_oversampling(network, readout_oversampling)
    config = dataclasses.replace(config, readout_oversampling=network.sense.readout_oversampling)
    slices = reconstruct(network, config, numbers, model_path)
    done = list(progress.bar(slices, total=len(numbers), desc="reconstruct", unit="slice"))
    for origin in dict.fromkeys(found.maps_origin for found in done):
        print(f"coil maps: {origin}")
    for output in outputs:
        os.makedirs(os.path.dirname(os.path.abspath(output)), exist_ok=True)
        if _suffix(output) == ".h5":
            origins = "; ".join(dict.fromkeys(found.maps_origin for found in done))
            _write_h5(output, done, _attributes(model_path, network, config, command, origins))
        else:
            _write_images(output, done, config)
    for path in paths:
        print(f"wrote {path}")


def _counted(number, thing):
    return f"{number} {thing}{'s' * (number != 1)}"


def _check_outputs(paths, inputs, overwrite):
    places, inputs = (
        [os.path.realpath(path) for path in paths],
        [os.path.realpath(path) for path in inputs if path],
    )
    for path, place in zip(paths, places):
        if place in inputs:
            raise ValueError(f"{path} is read, so it cannot be an output. Name another file.")
        if places.count(place) > 1:
            raise ValueError(f"{path} would be written twice. Name another output.")
        if os.path.isdir(place):
            raise ValueError(f"{path} is a folder. Name a file.")
    there = [path for path in paths if os.path.exists(path)]
    if there and not overwrite:
        raise ValueError(
            f"{', '.join(there)}: there already. Name another file, or allow to overwrite it"
            " (--force)."
        )
    for folder in {os.path.dirname(place) for place in places}:
        while not os.path.exists(folder):
            folder = os.path.dirname(folder)
        try:
            tempfile.TemporaryFile(dir=folder).close()
        except OSError as error:
            raise ValueError(
                f"cannot write to {folder}: {error.strerror}. Name another output."
            ) from error


def _suffix(output):
    return os.path.splitext(output)[1].lower()


def _paths(output, numbers, sigma):
    """The files that an output becomes: for images those of every slice, and of its deviation."""
    if _suffix(output) not in (".h5", ".png"):
        raise ValueError(f"an output ends in .h5 or .png. Received: {output}")
    if _suffix(output) == ".h5":
        return [output]
    stem, suffix = os.path.splitext(output)
    stems = [stem] if len(numbers) == 1 else [f"{stem}_{number:03d}" for number in numbers]
    return [
        f"{stem}{kind}{suffix}" for stem in stems for kind in (("", "_std") if sigma else ("",))
    ]


def _attributes(model_path, network, config, command, maps_origin):
    attributes = {
        "source": os.path.basename(config.data_path),
        "sensitivity_maps": maps_origin,
        "maps_from": "file" if config.sensitivity_path else config.maps_from,
        "mask": os.path.basename(config.mask_path) or config.mask,
        "readout_oversampling": config.readout_oversampling,
        "model": os.path.basename(os.path.normpath(model_path)),
        "model_hash": model_hash(network),
        "sigma": config.sigma,
        "units": "those of |A^H kspace|; sigma is in units of k-space divided by its slice's scale",
        "command": command,
    }
    if config.sigma:
        attributes.update(noise=config.noise, num_samples=config.num_samples, seed=config.seed)
    for package in ("tfvn", "tensorflow", "numpy"):
        with contextlib.suppress(
            importlib.metadata.PackageNotFoundError
        ):  # run from its folder, not installed
            attributes[f"{package}_version"] = importlib.metadata.version(package)
    return attributes


def _write_h5(path, slices, attributes):
    names = ("reconstruction", "standard_deviation", "zero_filled")
    images = zip(*(x[1:4] for x in slices))
    with writing_hdf5(path, track_order=True) as file:
        for name, stack in zip(names, images):
            if stack[0] is not None:
                file.create_dataset(
                    name,
                    data=np.stack(stack),
                    chunks=(1, *stack[0].shape),
                    compression="gzip",
                    shuffle=True,
                )
        file.attrs.update(
            slices=np.int32([x.number for x in slices]),
            scale=np.float32([x.scale for x in slices]),
            **attributes,
        )


def _write_images(output, slices, config):
    white = float(np.percentile([x.magnitude for x in slices], _WHITE))
    paths = iter(_paths(output, [x.number for x in slices], config.sigma))
    spread = [x.standard_deviation for x in slices]
    brightest = float(np.percentile(spread, _WHITE)) if config.sigma else None
    note = (
        f"{config.num_samples} draws, {config.noise} noise of $\\sigma$ = {config.sigma:g}; no"
        " error bar"
    )
    for found in slices:
        info = PngImagePlugin.PngInfo()
        info.add_text("Comment", f"grey 0 to 255: magnitude 0 to {white:g}")
        grey = np.uint8(np.round(np.clip(found.magnitude / (white or 1), 0, 1) * 255))
        with replacing(next(paths)) as temporary:
            Image.fromarray(grey).save(temporary, pnginfo=info)
        if config.sigma:
            with replacing(next(paths)) as temporary:
                scans.deviation(
                    temporary, found.magnitude, found.standard_deviation, white, brightest, note
                )

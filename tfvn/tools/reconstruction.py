"""What `python -m tfvn reconstruct` does: the slices of a scan through a trained network.

Results are written to HDF5 and as images.
"""

import os
import tempfile
from typing import NamedTuple, Optional

import numpy as np
from PIL import Image, PngImagePlugin

from tfvn import data, progress, provenance, ranges
from tfvn.data.scan_file import scan_shape
from tfvn.figures import scans
from tfvn.files import replacing, writing_hdf5
from tfvn.models import ZeroFilled, load_model
from tfvn.physics import measurement
from tfvn.runs import trained_on
from tfvn.runs.models import model_hash, with_readout_oversampling

__all__ = ["Slice", "reconstruct", "write"]

# Brighter pixels, a thousandth of all, are white too: a single bright vessel would darken all else.
_WHITE = 99.9
_MEASURED = ("kspace", "sensitivity_maps", "mask")
_VERSIONS = ("tfvn", "tensorflow", "numpy")


class Slice(NamedTuple):
    """One reconstructed slice.

    Images are float32 (rows, width), in the units of the scan's own zero-filled image.

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


class _Pictures(NamedTuple):
    """The files of one slice.

    magnitude: path of its image.
    deviation: path of the image of its standard deviation; None for a plain network.
    """

    magnitude: str
    deviation: Optional[str]


def reconstruct(network, config, numbers=None, model_path=None):
    """Yields a `Slice` for each slice of a scan.

    The noise of a smoothed network is another for each slice of the file, the same whichever others
    are reconstructed.

    Args:
        network: a `Reconstructor`.
        config: a `tfvn.config.Config` of `data.format: measurement`. Its defence is put around the
            network.
        numbers: slices of the file, from 0 on; None: all.
        model_path: where the network is from. What it was trained on is compared with the middle
            one of the slices.

    Raises:
        ValueError: for a scan that cannot be read or used; for a single draw.

    Warns:
        tfvn.data.DataWarning: where scan and network do not belong together, see
            `tfvn.runs.trained_on`, and as `tfvn.data.Measurement`.
    """
    model = config.defended(network)
    if model.draws == 1:
        raise ValueError("a standard deviation needs num_samples >= 2. Received: num_samples=1")
    if numbers is None:
        count, *_ = scan_shape(config.data.path, config.data.coil_axis, config.data.array)
        numbers = range(count)
    for position, number in enumerate(numbers):
        compared = None
        if position == len(numbers) // 2:
            compared = model_path
        try:
            found = _reconstruct_slice(model, config, number, compared)
        except ValueError as error:
            raise ValueError(f"slice {number}: {error}") from error
        yield found


def _reconstruct_slice(model, config, number, compared):
    source = data.source(config.changed({"data.slice_index": number}))
    oversampling = config.data.readout_oversampling
    sample, scale = data.normalise(source[0], source.name(0), oversampling)
    if compared:
        name = f"{config.data.path}, slice {number}"
        trained_on.warn(compared, sample, name, oversampling)
    inputs = {}
    for name in _MEASURED:
        array = getattr(sample, name)[None]
        if model.dtype == "float64":
            array = array.astype(np.result_type(array.dtype, np.float64))
        inputs[name] = array
    inputs = measurement.with_data(inputs, "zero_filled", model.zero_filled(inputs))
    statistics = model.statistics(inputs, model.keys([number]))
    deviation = None
    if statistics.deviation is not None:
        deviation = np.float32(scale * statistics.deviation[0])
    return Slice(
        number,
        np.float32(scale * statistics.mean[0]),
        deviation,
        np.float32(scale * np.abs(inputs["zero_filled"])[0]),
        float(scale),
        source.maps_origin,
    )


def write(
    model_path, config, slices, outputs, overwrite=False, readout_oversampling=None, command=""
):
    """Reconstructs slices of a scan and writes them.

    Nothing is written unless all are done. Each file is written whole.

    `.h5` holds `reconstruction`, `zero_filled` and, of a smoothed network, `standard_deviation`,
    float32 (slices, rows, width), and as attributes what they were made of. `.png` is the
    magnitude, 8 bit: 0 is black, the 99.9th percentile of all slices white. Of several slices there
    is a file each, name_000.png. Of a smoothed network there is another with the standard
    deviation, name_std.png.

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
    numbers = _chosen(config, slices)
    has_draws = _has_draws(config)
    paths = []
    for output in outputs:
        paths += _paths(output, numbers, has_draws)
    scan, maps, mask = config.data.path, config.data.sensitivity_path, config.sampling.get("path")
    read = (scan, maps, mask, model_path)
    _check_outputs(paths, read, overwrite)
    network = load_model(model_path)
    if readout_oversampling is not None:
        network = with_readout_oversampling(network, readout_oversampling)
    config = config.changed({"data.readout_oversampling": network.sense.readout_oversampling})
    found = reconstruct(network, config, numbers, model_path)
    done = list(progress.bar(found, total=len(numbers), desc="reconstruct", unit="slice"))
    origins = list(dict.fromkeys(one.maps_origin for one in done))
    for origin in origins:
        print(f"coil maps: {origin}")
    for output in outputs:
        os.makedirs(os.path.dirname(os.path.abspath(output)), exist_ok=True)
        if _suffix(output) == ".h5":
            _write_h5(output, done, _attributes(model_path, network, config, command, origins))
        else:
            note = _note(config.defended(network))
            _write_images(output, done, has_draws, note)
    for path in paths:
        print(f"wrote {path}")


def _chosen(config, slices):
    """The numbers of the slices, after a line about the scan."""
    scan = config.data
    count, coils, height, width = scan_shape(scan.path, scan.coil_axis, scan.array)
    counts = f"{_counted(count, 'slice')} of {_counted(coils, 'coil')}"
    print(f"{scan.path}: {counts}, {height} x {width}")
    if slices == "all":
        return list(range(count))
    numbers = ranges.numbers(slices)
    if max(numbers) >= count:
        raise ValueError(
            f"{scan.path}: the file holds the slices 0 to {count - 1}. Received: slices={slices}"
        )
    return numbers


def _counted(number, thing):
    if number == 1:
        return f"1 {thing}"
    return f"{number} {thing}s"


def _check_outputs(paths, read, overwrite):
    """Checks that outputs can be written, and that nothing of worth is lost."""
    places = [os.path.realpath(path) for path in paths]
    inputs = [os.path.realpath(path) for path in read if path]
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
        _check_writable(folder)


def _check_writable(folder):
    """Checks that files can be made in a folder, or in that in which it will be made."""
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


def _has_draws(config):
    """Whether the defence makes draws: then there are standard deviations."""
    # Of any model.
    return config.defended(ZeroFilled()).draws > 0


def _paths(output, numbers, has_draws):
    """The files that an output becomes."""
    if _suffix(output) not in (".h5", ".png"):
        raise ValueError(f"an output ends in .h5 or .png. Received: {output}")
    if _suffix(output) == ".h5":
        return [output]
    paths = []
    for pictures in _picture_paths(output, numbers, has_draws):
        paths += [path for path in pictures if path]
    return paths


def _picture_paths(output, numbers, has_draws):
    """The `_Pictures` of each slice."""
    stem, suffix = os.path.splitext(output)
    found = []
    for number in numbers:
        name = stem
        if len(numbers) > 1:
            name += f"_{number:03d}"
        deviation = None
        if has_draws:
            deviation = f"{name}_std{suffix}"
        found.append(_Pictures(f"{name}{suffix}", deviation))
    return found


def _attributes(model_path, network, config, command, origins):
    """What the `.h5` file tells of itself."""
    scan, sampling = config.data, config.sampling
    model = config.defended(network)
    maps_from = scan.maps_from
    if scan.sensitivity_path:
        maps_from = "file"
    attributes = {
        "source": os.path.basename(scan.path),
        "sensitivity_maps": "; ".join(origins),
        "maps_from": maps_from,
        "mask": os.path.basename(sampling.get("path", "")) or sampling.name,
        "readout_oversampling": scan.readout_oversampling,
        "model": os.path.basename(os.path.normpath(model_path)),
        "model_hash": model_hash(network),
        "defence": config.defence.name,
        "sigma": model.identity.get("sigma", 0.0),
        "units": "those of |A^H kspace|; sigma is in units of k-space divided by its slice's scale",
        "command": command,
    }
    if model.draws:
        law = model.identity.get("law", "")
        attributes.update(noise=law, num_samples=model.draws, seed=config.seed)
    for package, version in provenance.versions(_VERSIONS).items():
        attributes[f"{package}_version"] = version
    return attributes


def _write_h5(path, slices, attributes):
    images = {"reconstruction": [found.magnitude for found in slices]}
    if slices[0].standard_deviation is not None:
        images["standard_deviation"] = [found.standard_deviation for found in slices]
    images["zero_filled"] = [found.zero_filled for found in slices]
    with writing_hdf5(path, track_order=True) as file:
        for name, stack in images.items():
            file.create_dataset(
                name,
                data=np.stack(stack),
                chunks=(1, *stack[0].shape),
                compression="gzip",
                shuffle=True,
            )
        file.attrs.update(
            slices=np.int32([found.number for found in slices]),
            scale=np.float32([found.scale for found in slices]),
            **attributes,
        )


def _write_images(output, slices, has_draws, note):
    """Writes the slices as images.

    Args:
        output: the path that they are named after.
        slices: a list of `Slice`.
        has_draws: whether there are images of standard deviations, too.
        note: how the draws were made.
    """
    white = float(np.percentile([found.magnitude for found in slices], _WHITE))
    brightest = None
    if has_draws:
        deviations = [found.standard_deviation for found in slices]
        brightest = float(np.percentile(deviations, _WHITE))
    numbers = [found.number for found in slices]
    for found, paths in zip(slices, _picture_paths(output, numbers, has_draws)):
        _write_magnitude(paths.magnitude, found.magnitude, white)
        if paths.deviation:
            with replacing(paths.deviation) as temporary:
                scans.deviation(
                    temporary,
                    found.magnitude,
                    found.standard_deviation,
                    white,
                    brightest,
                    note,
                )


def _note(model):
    """How the draws were made, for the title of their deviation."""
    noise = ""
    if "law" in model.identity:
        noise = f", {model.identity['law']} noise of $\\sigma$ = {model.identity['sigma']:g}"
    return f"{model.draws} draws{noise}; no error bar"


def _write_magnitude(path, magnitude, white):
    info = PngImagePlugin.PngInfo()
    info.add_text("Comment", f"grey 0 to 255: magnitude 0 to {white:g}")
    shares = np.clip(magnitude / (white or 1), 0, 1)
    with replacing(path) as temporary:
        Image.fromarray(np.uint8(np.round(255 * shares))).save(temporary, pnginfo=info)

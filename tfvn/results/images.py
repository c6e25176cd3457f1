"""The file of all images of an evaluation, `reconstructions.h5`.

    slices/slice_I/{zero_filled, reference}       the same for all models
    models/NAME/slice_I/{clean, radius_R, ...}    the answers of one model

All are magnitudes in normalised units. Times the slice's attribute `scale` they are in the
scanner's units.
"""

from typing import NamedTuple, Optional

import numpy as np

from tfvn.data.sample import image_rows
from tfvn.physics.sense import Sense
from tfvn.results.candidates import cases

__all__ = ["Shown", "slice_name", "write_model_slice", "write_slices"]


class Shown(NamedTuple):
    """The data of one slice, as figure 1 shows them.

    kspace_coil, sensitivity_map: of the strongest coil, complex (height, width) and (rows, width).
    reference: the ground truth, complex (rows, width); None if there is none.
    zero_filled: A^H k, complex (rows, width).
    """

    kspace_coil: np.ndarray
    sensitivity_map: np.ndarray
    reference: Optional[np.ndarray]
    zero_filled: np.ndarray


def slice_name(index):
    """The name of a slice's group."""
    return f"slice_{index:05d}"


def write_slices(file, config, source):
    """Writes the images that are the same for all models.

    Args:
        file: an open HDF5 file.
        config: of a run.
        source: its test slices.

    Returns:
        The middle slice as a `Shown`.
    """
    oversampling = config.dataset.readout_oversampling
    sense = Sense(oversampling)
    middle = None
    for case in cases(config, source):
        maps, mask = case.inputs["sensitivity_maps"], case.inputs["mask"]
        images = {"zero_filled": sense.adjoint(case.inputs["kspace"], maps, mask)[0].numpy()}
        reference = case.reference[0].numpy()
        if np.isfinite(reference).all():
            images["reference"] = reference
        group = file.create_group(f"slices/{slice_name(case.index)}")
        group.attrs.update(name=case.name, scale=case.scale)
        for name, image in images.items():
            _write(group, name, np.abs(image))
        if case.index == len(source) // 2:
            middle = _shown(case, images, oversampling)
    return middle


def _shown(case, images, readout_oversampling):
    kspace = case.inputs["kspace"][0].numpy()
    maps = case.inputs["sensitivity_maps"][0].numpy()
    energies = np.square(np.abs(kspace)).sum((1, 2))
    coil = energies.argmax()
    rows = image_rows(maps.shape[1], readout_oversampling)
    return Shown(kspace[coil], maps[coil, rows], images.get("reference"), images["zero_filled"])


def write_model_slice(file, model, case, images):
    """Writes a model's images of one slice, a dict from dataset to image."""
    group = file.create_group(f"models/{model}/{slice_name(case.index)}")
    group.attrs.update(name=case.name, scale=case.scale)
    for dataset, image in images.items():
        _write(group, dataset, image)


def _write(group, name, image):
    group.create_dataset(name, data=image.astype(np.float32), compression="gzip", shuffle=True)

"""Data: sources of multi-coil slices and the `tf.data` batches made of them."""

from tfvn.checks import DataWarning
from tfvn.data import (
    agreement,
    anatomy,
    array_files,
    espirit,
    fastmri,
    ismrmrd,
    mask_choice,
    mat_files,
    measurement,
    pipeline,
    prepared,
    sample,
    sensitivity,
    synthetic,
    vlo,
    vlo_folder,
    volumes,
)
from tfvn.data.arrays import prepare
from tfvn.data.check import check, review
from tfvn.data.fastmri import FastMRIFormat
from tfvn.data.format import Format
from tfvn.data.images import ImagesFormat
from tfvn.data.ismrmrd import ISMRMRDFormat
from tfvn.data.maps import MAPS
from tfvn.data.mask_choice import MASKS
from tfvn.data.measurement import Measurement
from tfvn.data.measurement_format import MeasurementFormat
from tfvn.data.pipeline import Batches, clear_errors, fingerprints, load, maps_origin, source
from tfvn.data.prepared import PreparedSlices
from tfvn.data.sample import Sample, normalise
from tfvn.data.sensitivity import low_resolution_maps
from tfvn.data.siemens import SiemensFormat
from tfvn.data.source import Source
from tfvn.data.synthetic import SyntheticFormat, SyntheticKnee
from tfvn.data.vlo import VLOKnee
from tfvn.data.vlo_format import VLOFormat

# What `format` of the section `data` may be. A format of data is a `Format`, the `Source` that it
# gives, and a line here.
FORMATS = {
    "synthetic": SyntheticFormat,
    "vlo": VLOFormat,
    "fastmri": FastMRIFormat,
    "ismrmrd": ISMRMRDFormat,
    "siemens": SiemensFormat,
    "images": ImagesFormat,
    "measurement": MeasurementFormat,
}

__all__ = [
    "Batches",
    "DataWarning",
    "FORMATS",
    "FastMRIFormat",
    "Format",
    "ISMRMRDFormat",
    "ImagesFormat",
    "MAPS",
    "MASKS",
    "Measurement",
    "MeasurementFormat",
    "PreparedSlices",
    "Sample",
    "SiemensFormat",
    "Source",
    "SyntheticFormat",
    "SyntheticKnee",
    "VLOFormat",
    "VLOKnee",
    "check",
    "clear_errors",
    "fingerprints",
    "load",
    "low_resolution_maps",
    "maps_origin",
    "normalise",
    "prepare",
    "review",
    "source",
    "agreement",
    "anatomy",
    "array_files",
    "espirit",
    "fastmri",
    "ismrmrd",
    "mask_choice",
    "mat_files",
    "measurement",
    "pipeline",
    "prepared",
    "sample",
    "sensitivity",
    "synthetic",
    "vlo",
    "vlo_folder",
    "volumes",
]

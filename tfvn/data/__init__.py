"""Data: sources of multi-coil slices and the `tf.data` batches made of them."""

from tfvn.checks import DataWarning
from tfvn.data import (
    agreement,
    anatomy,
    array_files,
    mat_files,
    measurement,
    pipeline,
    prepared,
    sample,
    sensitivity,
    synthetic,
    vlo,
    vlo_folder,
)
from tfvn.data.arrays import prepare
from tfvn.data.check import check, review
from tfvn.data.measurement import Measurement
from tfvn.data.pipeline import Batches, clear_errors, load, maps_origin, source
from tfvn.data.prepared import PreparedSlices
from tfvn.data.sample import Sample, normalise
from tfvn.data.sensitivity import low_resolution_maps
from tfvn.data.source import Source
from tfvn.data.synthetic import SyntheticKnee
from tfvn.data.vlo import VLOKnee

# What `dataset` of a configuration may be. A format of data is a `Source` and a line here.
FORMATS = {
    "synthetic": SyntheticKnee,
    "vlo": VLOKnee,
    "measurement": Measurement,
}

__all__ = [
    "Batches",
    "DataWarning",
    "FORMATS",
    "Measurement",
    "PreparedSlices",
    "Sample",
    "Source",
    "SyntheticKnee",
    "VLOKnee",
    "check",
    "clear_errors",
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
    "mat_files",
    "measurement",
    "pipeline",
    "prepared",
    "sample",
    "sensitivity",
    "synthetic",
    "vlo",
    "vlo_folder",
]

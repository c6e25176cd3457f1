"""Defences: models around a model."""

from tfvn.defences.base import GIVEN, Defence
from tfvn.defences.cyclic import Cyclic
from tfvn.defences.dropout import Dropout
from tfvn.defences.ensemble import Ensemble
from tfvn.defences.median import MedianSmoothed
from tfvn.defences.projected import Projected
from tfvn.defences.purified import DenoisedSmoothing, Purified
from tfvn.defences.smoothing import Smoothed
from tfvn.defences.stagewise import Stagewise

__all__ = [
    "Cyclic",
    "DEFENCES",
    "Defence",
    "DenoisedSmoothing",
    "Dropout",
    "Ensemble",
    "GIVEN",
    "MedianSmoothed",
    "Projected",
    "Purified",
    "Smoothed",
    "Stagewise",
]

# Of a configuration's `defence.name`.
DEFENCES = {
    "cyclic": Cyclic,
    "denoised": DenoisedSmoothing,
    "dropout": Dropout,
    "ensemble": Ensemble,
    "median": MedianSmoothed,
    "projected": Projected,
    "purified": Purified,
    "smoothed": Smoothed,
    "stagewise": Stagewise,
}

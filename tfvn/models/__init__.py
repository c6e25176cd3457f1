"""Reconstruction models, and the files they are kept in."""

from tfvn.models.adapters import from_function, from_keras, from_torch
from tfvn.models.automap import AUTOMAP
from tfvn.models.base import Reconstructor, Statistics, magnitude
from tfvn.models.cascade import Cascade
from tfvn.models.classical import CGSense, TotalVariation, Wavelet, ZeroFilled
from tfvn.models.convex_ridge import ConvexRidge
from tfvn.models.dagan import DAGAN
from tfvn.models.e2e_varnet import E2EVarNet
from tfvn.models.modl import MoDL
from tfvn.models.monotone import MonotoneVariationalNetwork
from tfvn.models.network_files import load_model
from tfvn.models.rim import RIM
from tfvn.models.unet import UNet
from tfvn.models.variational import VariationalNetwork

__all__ = [
    "AUTOMAP",
    "DAGAN",
    "MODELS",
    "RIM",
    "CGSense",
    "Cascade",
    "ConvexRidge",
    "E2EVarNet",
    "MoDL",
    "MonotoneVariationalNetwork",
    "Reconstructor",
    "Statistics",
    "TotalVariation",
    "UNet",
    "VariationalNetwork",
    "Wavelet",
    "ZeroFilled",
    "from_function",
    "from_keras",
    "from_torch",
    "load_model",
    "magnitude",
]

# Of a configuration's `model.name`.
MODELS = {
    "automap": AUTOMAP,
    "cascade": Cascade,
    "cg-sense": CGSense,
    "convex-ridge": ConvexRidge,
    "dagan": DAGAN,
    "e2e-varnet": E2EVarNet,
    "modl": MoDL,
    "monotone": MonotoneVariationalNetwork,
    "rim": RIM,
    "total-variation": TotalVariation,
    "unet": UNet,
    "variational": VariationalNetwork,
    "wavelet": Wavelet,
    "zero-filled": ZeroFilled,
}

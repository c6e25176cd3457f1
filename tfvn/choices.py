"""The names that a setting can have, where several modules must know them.

Command lines are checked before TensorFlow is imported, so these tuples stand in a file that does
without it. Whoever implements the names takes the tuples from here.
"""

__all__ = [
    "GRADIENTS",
    "LAWS",
    "MAPS_FROM",
    "NOISES",
    "PADDING_LINES",
    "REFERENCES",
    "STRATEGIES",
]

# The distributions of noise, `tfvn.physics.noise`.
LAWS = ("gaussian", "uniform", "laplace")
# From what coil maps are estimated, `tfvn.data.measurement`.
MAPS_FROM = ("measured", "fully-sampled")
# Through what the gradient of an attack goes: every place where the model reads the measurement, or
# the first iterate alone.
GRADIENTS = ("full", "initial-image")
# The draws of an attack on a random model: its own, or those that the model is going to use.
NOISES = ("fresh", "fixed")
# What the penalised attack drives the reconstruction away from.
REFERENCES = ("prediction", "truth")
# What lines are that were never measured, `tfvn.data.vlo`.
PADDING_LINES = ("measured", "unmeasured")
# How work is split between devices, `tfvn.workers`.
STRATEGIES = ("none", "mirrored", "multiworker")

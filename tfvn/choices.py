"""The names that a setting can have, where several modules must know them.

Command lines are checked before TensorFlow is imported, so these tuples stand in a file that does
without it. Whoever implements the names takes the tuples from here.
"""

__all__ = [
    "ABOUT",
    "GRADIENTS",
    "LAWS",
    "MAPS",
    "MAPS_FROM",
    "NOISES",
    "PADDING_LINES",
    "REFERENCES",
    "STRATEGIES",
    "STRATEGIES_OF_DRAWS",
    "SURROGATE",
    "TARGETS",
    "TRACKS",
]

# What a row of a leaderboard says of itself, in texts of which nothing depends.
ABOUT = ("licence", "authors", "link", "note")
# The distributions of noise, `tfvn.physics.noise`.
LAWS = ("gaussian", "uniform", "laplace")
# How coil maps are estimated, `tfvn.data.maps`, the default first.
MAPS = ("low_resolution", "espirit")
# From what coil maps are estimated, `tfvn.data.measurement`.
MAPS_FROM = ("measured", "fully-sampled")
# Through what the gradient of an attack goes, `tfvn.models.backward`: every place where the model
# reads the measurement, the first iterate alone, the last steps, or a surrogate.
GRADIENTS = ("full", "initial-image", "last-steps", "straight-through")
# The same for an attack on the surrogate itself, whose result is given to the model.
SURROGATE = "surrogate"
# How a model must be attacked, the easiest first: it answers the same every time, it draws random
# numbers, or it optimises or samples for each measurement.
TRACKS = ("deterministic", "random", "dynamic")
# The draws of an attack on a random model: its own, or those that the model is going to use.
NOISES = ("fresh", "fixed")
# What the penalised attack drives the reconstruction away from.
REFERENCES = ("prediction", "truth")
# What lines are that were never measured, `tfvn.data.vlo`.
PADDING_LINES = ("measured", "unmeasured")
# What the reference of a volume is, `tfvn.data.volumes`: coil images combined by the maps, or their
# root-sum-of-squares.
TARGETS = ("combined", "rss")
# How the batches of a training are split between devices, `tfvn.workers`, and the draws of a model.
STRATEGIES = ("none", "mirrored", "multiworker")
STRATEGIES_OF_DRAWS = ("none", "mirrored")

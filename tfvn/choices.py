"""The names that a setting can have, where the command line or a configuration must know them.

Both are checked before TensorFlow is imported, so these tuples stand in a file that does without
it. Whoever implements the names takes the tuples from here.
"""

__all__ = ["LAWS", "MAPS_FROM", "NORMS", "OPTIMIZERS", "PADDING_LINES", "STRATEGIES"]

# The distributions of noise, `tfvn.physics.noise`.
LAWS = ("gaussian", "uniform", "laplace")
# From what coil maps are estimated, `tfvn.data.measurement`.
MAPS_FROM = ("measured", "fully-sampled")
# The norms of a ball, `tfvn.projections`.
NORMS = ("l2", "l1", "linf")
# The optimizers that have a name, `tfvn.training`.
OPTIMIZERS = ("ipalm", "adam", "radam-lookahead", "conditional-gradient")
# What lines are that were never measured, `tfvn.data.vlo`.
PADDING_LINES = ("measured", "unmeasured")
# How work is split between devices, `tfvn.workers`.
STRATEGIES = ("none", "mirrored", "multiworker")

"""tfvn: MRI reconstruction with variational networks, attacked, defended and certified, in TensorFlow 2 and Keras."""
import os
import sys

if sys.argv[:1] == ["-m"]:
    # `python -m tfvn` comes here before its own first line: TensorFlow's messages are not its user's.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from tfvn import (
    activations,
    attacks,
    certificates,
    config,
    convolutions,
    data,
    evaluation,
    experiments,
    figures,
    fourier,
    importers,
    ipalm,
    masks,
    metrics,
    network,
    operators,
    projections,
    reconstruction,
    runs,
    serving,
    smoothing,
    training,
)
from tfvn.importers import load_model

__version__ = "0.1.0"

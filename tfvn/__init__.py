"""tfvn: MRI reconstruction with variational networks, attacked, defended and certified, in TensorFlow 2 and Keras."""
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
    runs,
    smoothing,
    training,
)
from tfvn.importers import load_model

__version__ = "0.1.0"

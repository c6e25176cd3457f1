"""tfvn: MRI reconstruction with variational networks, attacked, defended and certified, in TensorFlow 2 and Keras."""
from tfvn import (
    activations,
    attacks,
    certificates,
    fourier,
    ipalm,
    masks,
    metrics,
    network,
    operators,
    projections,
    smoothing,
    training,
)

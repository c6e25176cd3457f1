"""How large the file of a variational network is, from its settings alone.

No larger network is made than the reader of files takes.
"""

import math

__all__ = ["LARGEST_FILE", "largest_file", "weight_bytes", "weight_shapes"]

# Bytes that the file of a network's weights may take: no larger network is made, and
# `tfvn.models.network_files` reads none.
LARGEST_FILE = 2**28

_BYTES = {"float32": 4, "float64": 8}
# A file may hold the state of an optimizer, up to three numbers for each weight.
_NUMBERS_PER_WEIGHT = 4
# The structure of the file itself, in bytes.
_OVERHEAD = 2**20
_STAGE_OVERHEAD = 2**16


def weight_shapes(filters, kernel_size, num_centers):
    """The shapes of a stage's weights by their names."""
    kernel = (kernel_size, kernel_size, 2, filters)
    return {"kernel": kernel, "data_weight": (), "rbf_weights": (filters, num_centers)}


def weight_bytes(num_stages, filters, kernel_size, num_centers, dtype):
    """Bytes of all weights of a network of these settings, in "float32" or "float64"."""
    shapes = weight_shapes(filters, kernel_size, num_centers).values()
    return num_stages * sum(map(math.prod, shapes)) * _BYTES[dtype]


def largest_file(num_stages, filters, kernel_size, num_centers, dtype):
    """Bytes that the file of such a network's weights may take.

    Raises:
        ValueError: if it takes more than `LARGEST_FILE`.
    """
    weights = weight_bytes(num_stages, filters, kernel_size, num_centers, dtype)
    largest = _NUMBERS_PER_WEIGHT * weights + num_stages * _STAGE_OVERHEAD + _OVERHEAD
    if largest > LARGEST_FILE:
        raise ValueError(
            f"The file of a network's weights may take up to {LARGEST_FILE / 1e6:.0f} MB, and this "
            f"one's may need {largest / 1e6:.4g} MB. Received: num_stages={num_stages}, "
            f"filters={filters}, kernel_size={kernel_size}, num_centers={num_centers}. Make one of "
            "them smaller."
        )
    return largest

"""What may be claimed of a model, for every change of the measurement within a distance."""

from tfvn.certificates.base import Certificate
from tfvn.certificates.lipschitz import Lipschitz
from tfvn.certificates.local import Local
from tfvn.certificates.total_variation import TotalVariation

__all__ = ["CERTIFICATES", "Certificate", "Lipschitz", "Local", "TotalVariation"]

CERTIFICATES = {"total-variation": TotalVariation, "local": Local, "lipschitz": Lipschitz}

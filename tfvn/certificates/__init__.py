"""What may be claimed of a model, for every change of the measurement within a distance."""

from tfvn.certificates.base import Certificate
from tfvn.certificates.center import Center
from tfvn.certificates.conformal import NextPatient
from tfvn.certificates.covariance import Covariance
from tfvn.certificates.draws import Answer, Claim, Draws, FromDraws
from tfvn.certificates.expected import ExpectedError
from tfvn.certificates.lipschitz import Lipschitz
from tfvn.certificates.local import Local
from tfvn.certificates.median import Median
from tfvn.certificates.total_variation import TotalVariation
from tfvn.certificates.trace import Trace

__all__ = [
    "Answer",
    "CERTIFICATES",
    "Center",
    "Certificate",
    "Claim",
    "Covariance",
    "Draws",
    "ExpectedError",
    "FROM_DRAWS",
    "FromDraws",
    "Lipschitz",
    "Local",
    "Median",
    "NextPatient",
    "TotalVariation",
    "Trace",
]

CERTIFICATES = {"total-variation": TotalVariation, "local": Local, "lipschitz": Lipschitz}
# Those that look at every single draw of an answer.
FROM_DRAWS = {
    "median": Median,
    "center": Center,
    "trace": Trace,
    "covariance": Covariance,
    "expected-error": ExpectedError,
}

"""The error to the truth of the next patient, from those of other patients (RCP1).

Each of n patients is reconstructed once, from k + e with one draw e of normal noise, and has a
score: the error to the truth. Let the next patient be exchangeable with them. With

    b = Phi(Phi^-1(1 - miss) + rho / sigma)

let t be the score number ceil(b (n + 1)), from the smallest. Then for every attack || d ||_2 <= rho
that does not see the noise, the error of f(k + d + e), one draw of the next patient, is at most t
with a probability of at least 1 - miss. It is that over patients, calibration and noise together,
and not over the noise of each patient. It is about slices that are chosen as those of the n
patients: of a run the middle one of each.

Without an attack the next score is at most t with probability b at least. At each patient an attack
takes a probability p to Phi(Phi^-1(p) - rho / sigma) at least. That is convex in p, so the mean
over patients is at least its value at b, which is 1 - miss.

arXiv:2506.16553, NeurIPS 2025.
"""

import math

import numpy as np

from tfvn import checks
from tfvn.certificates import counts
from tfvn.certificates.base import check_finite, check_sigma
from tfvn.certificates.draws import Claim, check_radii

__all__ = ["NextPatient"]

# One of all people.
_LEAST_SHARE = 1e-10


class NextPatient:
    """A bound of the error to the truth for the next patient.

    Args:
        miss: the share of patients for whom the error may be larger.

    Raises:
        ValueError: for a share that is not in (0, 1).
    """

    name = "next-patient"
    about = (
        "error to the truth of one draw on the middle slice of the next patient at k + d, d of an"
        " attack that does not see the noise; over calibration, patients and noise together"
    )

    def __init__(self, miss=0.1):
        self.miss = checks.number("miss", miss, above=0, below=1)
        self.confidence = 1 - self.miss

    def needed(self, ratio):
        """The fewest patients: the smallest n with ceil(b (n + 1)) <= n.

        It is infinite where that are more than live.
        """
        # 1 - b itself: b is rounded to 1 for large radii.
        rest = counts.moved(self.miss, -ratio)
        if rest < _LEAST_SHARE:
            return math.inf
        count = max(1, int(1 / rest) - 2)
        while self._place(count, ratio) > count:
            count += 1
        return count

    def _place(self, count, ratio):
        """Which of `count` sorted scores is the bound; count + 1 where none is."""
        # ceil(b (n + 1)) = n + 1 - floor((1 - b) (n + 1)).
        return count + 1 - int(np.floor(counts.moved(self.miss, -ratio) * (count + 1)))

    def claims(self, scores, sigma, radii):
        """A `Claim` for each radius, whose draws are patients. It abstains where they are too few.

        Args:
            scores: of the patients, (patients,).
            sigma: the deviation of each real component of the noise.
            radii: of || d ||_2, a list.
        """
        check_sigma(sigma)
        scores = np.sort(check_finite("scores", np.asarray(scores, float)))
        found = []
        for radius in check_radii(radii):
            ratio, bound = radius / sigma, np.nan
            place = self._place(len(scores), ratio)
            if place <= len(scores):
                bound = float(scores[place - 1])
            needed = self.needed(ratio)
            claim = Claim(
                self.name, radius, self.confidence, needed, len(scores), bound, self.about
            )
            found.append(claim)
        return found

"""The expected error to the truth under normal noise, and how far any change can raise it.

Let s be a score in [0, 1]. For every || d ||_2 <= rho

    E s(k + d + e)  <=  Phi(Phi^-1(E s(k + e)) + rho / sigma).

The score here is the error || f(k + e) - |y| ||_2 as a share of || y ||_2, and 1 where it is
larger: then an empty image would have been as good. The mean E s at k is not known. Draws bound it
with confidence 1 - alpha, for all radii at once: `tfvn.certificates.bets`.

The bound on scores is the lemma of Neyman and Pearson, as in Salman et al., NeurIPS 2019, lemma 2.
"""

import numpy as np

from tfvn.certificates import bets, counts
from tfvn.certificates.base import check_number, check_sigma
from tfvn.certificates.draws import Answer, FromDraws, check_radii

__all__ = ["ExpectedError"]


class ExpectedError(FromDraws):
    """The expected error of a single draw. It abstains where the truth is not known.

    It is about min(error, || y ||_2) of single draws, and not about the error of their mean: that
    is at most the mean of the errors, but not of errors that are cut. Where its bound is || y ||_2
    itself it abstains.

    Args:
        alpha: the probability that the bounds do not hold.

    Raises:
        ValueError: for an alpha that is not in (0, 1).
    """

    name = "expected-error"
    suffices = False
    about = "expected error to the truth of one draw at any k + d, cut at ||y||"

    def needed(self, pixels, ratio):
        """The fewest draws with which the bound can be below || y ||_2: those of a perfect model
        that end the bet.
        """
        del pixels, ratio
        return bets.fewest(self.alpha)

    def answer(self, draws, sigma, radii, reference=None):
        """No image, and the largest expected error of each radius."""
        check_sigma(sigma)
        radii = np.array(check_radii(radii))
        nothing = Answer(None, np.full(len(radii), np.nan))
        if reference is None:
            return nothing
        reference = np.abs(reference).astype(float)
        largest = check_number("the norm of the reference", np.linalg.norm(reference))
        if not largest:
            return nothing
        errors = np.array([np.linalg.norm(image - reference) for image in draws.images()])
        mean = bets.largest_mean(np.minimum(errors / largest, 1), self.alpha)
        if mean >= 1:
            return nothing
        shares = counts.moved(mean, radii / sigma)
        return Answer(None, largest * np.where(shares < 1, shares, np.nan))

"""Single draws of an answer in a file, and what a claim from them is.

Order statistics of pixels need all draws of a pixel at once. All draws of all pixels would fill the
memory: 1000 of an image of 640 x 368 are 0.94 GB. So they lie in a file, and are read by images, or
by blocks of pixels. Memory does not depend on the number of draws.
"""

import math
import os
import tempfile
from typing import NamedTuple, Optional

import numpy as np

from tfvn import checks

__all__ = ["Answer", "Claim", "Draws", "FromDraws", "check_alpha", "check_radii"]

# Values that are in memory at once: 64 MB.
_AT_ONCE = 2**24
_BYTES = 4


class Draws:
    """Single draws of one answer, real images of one shape, in a file without a name.

    It is a context: the file begins and ends with it.

    Args:
        shape: of an image.
        folder: where the file lies; None for the folder of temporary files.
        at_once: how many values are read at once.
    """

    def __init__(self, shape, folder=None, at_once=_AT_ONCE):
        self.shape = tuple(shape)
        self.pixels = math.prod(self.shape)
        self._folder, self._at_once = folder, at_once
        self._count, self._file = 0, None

    def __enter__(self):
        self._file = tempfile.TemporaryFile(dir=self._folder)
        return self

    def __exit__(self, *error):
        self._file.close()

    def __len__(self):
        return self._count

    def append(self, image):
        """Adds a draw.

        Raises:
            ValueError: for an image of another shape, and for one that is not finite.
        """
        image = np.asarray(image, np.float32)
        if image.shape != self.shape:
            raise ValueError(
                f"image must have the shape {self.shape} of the other draws. Received:"
                f" image.shape={image.shape}"
            )
        if not np.isfinite(image).all():
            raise ValueError(
                "a draw must be finite. Received: an image with NaN or infinity. The network has"
                " diverged: train it again with a lower learning rate."
            )
        self._file.seek(0, os.SEEK_END)
        self._file.write(image.tobytes())
        self._count += 1

    def images(self, start=0, stop=None):
        """Yields the draws start, ..., stop - 1, of shape `shape`, float32."""
        stop = len(self) if stop is None else stop
        for number in range(start, stop):
            yield self._read(number, 0, self.pixels).reshape(self.shape)

    def blocks(self):
        """Yields pairs (pixels, values): a slice of the flat image, and all draws there.

        The values are float32 (draws, pixels of the block).
        """
        length = max(1, self._at_once // max(1, len(self)))
        for start in range(0, self.pixels, length):
            stop = min(start + length, self.pixels)
            values = np.empty((len(self), stop - start), np.float32)
            for number in range(len(self)):
                values[number] = self._read(number, start, stop)
            yield slice(start, stop), values

    def _read(self, number, start, stop):
        self._file.seek(_BYTES * (number * self.pixels + start))
        return np.frombuffer(self._file.read(_BYTES * (stop - start)), np.float32)


class Answer(NamedTuple):
    """What a certificate makes of draws.

    image: the image that the bounds are around; None where they are around none that is known.
    bounds: at each radius, (radii,); NaN where it abstains.
    lower, upper: below and above which no pixel lies, (radii, ...); None where pixels have no
        bounds.
    norm: to which larger images were scaled back; NaN where none are.
    scaled: the share of the draws that were.
    """

    image: Optional[np.ndarray]
    bounds: np.ndarray
    lower: Optional[np.ndarray] = None
    upper: Optional[np.ndarray] = None
    norm: float = math.nan
    scaled: float = math.nan

    def images(self, name, radii):
        """All its images, a dict from their names, which begin with that of the certificate."""
        found = {}
        if self.image is not None:
            found[name] = self.image
        if self.lower is not None:
            for radius, bound, lower, upper in zip(radii, self.bounds, self.lower, self.upper):
                if not math.isnan(bound):
                    found[f"{name}_lower_{radius!r}"] = lower
                    found[f"{name}_upper_{radius!r}"] = upper
        return found


class Claim(NamedTuple):
    """What is claimed of one answer, for every change of the data up to a radius.

    certificate: the name of what claims it.
    radius: of || d ||_2, the norm of what is added to the data.
    confidence: 1 - alpha; 0 for an estimate, which claims nothing.
    needed: the fewest draws with which this can be claimed; infinite where none do.
    draws: how many there were.
    bound: the largest value of what it is about; NaN where it abstains.
    about: what the bound is about, in words.
    error: the error to the truth of the image that the bound is around; NaN where there is none.
    norm, scaled: those of the `Answer`.
    """

    certificate: str
    radius: float
    confidence: float
    needed: float
    draws: int
    bound: float
    about: str
    error: float = math.nan
    norm: float = math.nan
    scaled: float = math.nan

    @property
    def abstains(self):
        return math.isnan(self.bound)


class FromDraws:
    """A certificate that is made of single draws of one answer, under normal noise.

    Args:
        alpha: the probability that a bound does not hold.

    Attributes:
        name: of the certificate.
        about: what its bounds are about, in words.
        confidence: 1 - alpha of each bound; 0 for an estimate.
        suffices: whether it claims something of all draws that are as many as it needs.

    Raises:
        ValueError: for an alpha that is not in (0, 1).
    """

    name = ""
    about = ""
    suffices = True

    def __init__(self, alpha=0.001):
        self.alpha = check_alpha(alpha)
        self.confidence = 1 - self.alpha

    @classmethod
    def at_level(cls, alpha):
        """That of a level. Of an estimate there is one, which has none."""
        return cls(alpha)

    def needed(self, pixels, ratio):
        """The fewest draws with which something can be claimed.

        Args:
            pixels: of the image.
            ratio: the radius by the deviation of the noise.
        """
        raise NotImplementedError

    def answer(self, draws, sigma, radii, reference=None):
        """What is bounded, an `Answer`.

        Args:
            draws: the `Draws`.
            sigma: the deviation of each real component of the noise.
            radii: of || d ||_2, a list.
            reference: the truth, an image of the draws' shape; None where it is not known.
        """
        raise NotImplementedError

    def claims(self, draws, sigma, radii, reference=None):
        """A `Claim` for each radius. Arguments as for `answer`."""
        answer = self.answer(draws, sigma, radii, reference)
        return self.claims_of(answer, draws, sigma, radii, reference)

    def claims_of(self, answer, draws, sigma, radii, reference=None):
        """A `Claim` for each radius, from the `Answer` to the other arguments."""
        error = math.nan
        if answer.image is not None and reference is not None:
            error = float(np.linalg.norm(answer.image - np.abs(reference).astype(float)))
        found = []
        for radius, bound in zip(radii, answer.bounds):
            needed = self.needed(draws.pixels, radius / sigma)
            # An infinite bound claims nothing.
            bound = float(bound) if np.isfinite(bound) else math.nan
            made = (self.name, radius, self.confidence, needed, len(draws), bound, self.about)
            found.append(Claim(*made, error, answer.norm, answer.scaled))
        return found


def check_alpha(alpha):
    """A level in (0, 1), as a float."""
    return checks.number("alpha", alpha, above=0, below=1)


def check_radii(radii):
    """Radii > 0, as a list of floats."""
    return [checks.number("radius", radius, above=0) for radius in radii]

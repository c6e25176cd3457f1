"""Rules that raise flags, each with its limit and the reason for it.

An attack that fails and a model that is robust give the same table. What tells them apart is known:
a search with gradients beats one without, a larger ball does not give less, more steps change
nothing, and the gradient is the derivative.

Source: Carlini et al., On Evaluating Adversarial Robustness, arXiv 1902.06705, 2019, section 5, and
the flags of AutoAttack (Croce and Hein, ICML 2020).
"""

from typing import NamedTuple

__all__ = [
    "GAIN",
    "GRADIENT",
    "NO_BETTER",
    "OF_MODELS",
    "OF_RESULTS",
    "REPEATED",
    "RULES",
    "STILL",
    "Rule",
]

# Of the derivative. A right gradient agrees to 1 % in single precision, and one that is cut
# somewhere is off by tens of percent.
GRADIENT = 0.05
# Of the derivative, which a whole gradient has to within `GRADIENT`.
WHOLE = 0.95
# Of the gradient that moved a linear answer as far. What is below is none.
ZERO = 1e-3
# Of the answer. Rounding stays below a tenth of it.
REPEATED = 1e-4
# Of the answer. Sums of a batch are taken in another order than those of a slice.
MATES = 1e-3
# Of the pixels that are not empty. By chance fewer keep their value.
STUCK = 1e-3
# Of the first order effect, to which a search of a few gradients more comes within 2 %.
LINEAR = 0.95
# Of the true image. An attack that may erase it all has to do half of that.
UNBOUNDED = 0.5
# Of the radius: a tenth of what the zero-filled image may move.
STILL = 0.1
# Of the error of the zero-filled image: a model worth a row is better.
NO_BETTER = 0.9
# Rounding, where attacks end in the same change.
ROUNDING = 1e-3
# Random starts of one attack differ by more. A search that sees no gradient is not ahead by luck.
BLACK_BOX = 0.01
# What an attack may lose by its random start.
LOST = 0.02
# By what more steps, restarts or draws may raise a mean that is said to be the worst case.
GAIN = 0.02


class Rule(NamedTuple):
    """What raises a flag.

    name: of the flag.
    text: one sentence: what is so where it is raised.
    limit: that the number must not go beyond.
    below: whether it must not go below.
    """

    name: str
    text: str
    limit: float
    below: bool = False

    def broken_by(self, found):
        """Whether a number goes beyond the limit. Infinity does, and NaN says nothing."""
        if self.below:
            return found < self.limit
        return found > self.limit


# Those that `tfvn.results.probes` applies.
OF_MODELS = (
    Rule("no answer", "Images of the answer are not finite, or the model raises an error.", 0.0),
    Rule(
        "random",
        "Passes of the same data and key differ, or those of other keys for a model that declares"
        f" no draws, by more than {REPEATED:g} of the answer.",
        REPEATED,
    ),
    Rule(
        "batch dependence",
        f"The answer to a slice changes with its batch mates by more than {MATES:g} of it.",
        MATES,
    ),
    Rule(
        "saturated output",
        f"More than {STUCK:g} of the pixels keep their value to the last bit where the data"
        " change: the output is clipped or quantised.",
        STUCK,
    ),
    Rule(
        "zero gradient",
        f"The gradient at the start is missing, not finite, or below {ZERO:g} of what moved the"
        " answer.",
        ZERO,
        below=True,
    ),
    Rule(
        "gradient wrong",
        "The gradient in the image r and central differences in 5 random directions differ by more"
        f" than {100 * GRADIENT:g} %.",
        GRADIENT,
    ),
    Rule(
        "partial data path",
        f"The gradient in the k-space has less than {100 * WHOLE:g} % of the derivative in 5 random"
        " directions: a way from the data to the answer is cut.",
        WHOLE,
        below=True,
    ),
    Rule(
        "linear law broken",
        f"The effect at radius 0.01 is below {LINEAR:g} times the largest singular value times the"
        " radius.",
        LINEAR,
        below=True,
    ),
    Rule(
        "single step wins",
        "One step from a small change does more than a search of many steps in the same ball.",
        ROUNDING,
    ),
    Rule(
        "known draws are no help",
        "A search that knows the draws of the model does less on them than one that does not, by"
        f" more than {100 * LOST:g} %.",
        LOST,
    ),
    Rule(
        "unbounded attack fails",
        f"With a radius of ||y|| the error stays below {UNBOUNDED:g} ||y||.",
        UNBOUNDED,
        below=True,
    ),
    Rule(
        "constant output",
        f"The effect is below {STILL:g} of the radius, and the clean error no better than"
        f" {NO_BETTER:g} of the zero-filled image's.",
        STILL,
        below=True,
    ),
)
# Those on what attacks reached.
OF_RESULTS = (
    Rule(
        "black box wins",
        f"A search without gradients is ahead of all with gradients by more than"
        f" {100 * BLACK_BOX:g} %.",
        BLACK_BOX,
    ),
    Rule(
        "transfer wins",
        "A change found for another model does more than all that were found for this one.",
        ROUNDING,
    ),
    Rule(
        "single step wins",
        "An attack of a single step does more than all of many steps.",
        ROUNDING,
    ),
    Rule(
        "not monotone",
        f"A larger ball gives less than a smaller one by more than {100 * LOST:g} %.",
        LOST,
    ),
    Rule(
        "not converged",
        f"More steps or one more restart raise the mean by more than {100 * GAIN:g} %.",
        GAIN,
    ),
    Rule(
        "bound violated",
        "The effect is larger than a certificate allows: one of both is wrong.",
        ROUNDING,
    ),
    Rule(
        "half attacked",
        "A model that optimises or samples for each measurement was not attacked in all of three"
        " ways: with a gradient, without one, and through its surrogate.",
        0.0,
    ),
    Rule(
        "EoT too small",
        f"More draws in the attack raise the mean by more than {100 * GAIN:g} %, or it is higher by"
        " as much on the draws that the attack saw than on others.",
        GAIN,
    ),
)
# All names, in the order in which they are shown. Both kinds of rules have single steps.
RULES = {rule.name: rule for rule in (*OF_MODELS, *OF_RESULTS)}

"""Whole numbers as people write them: '1-10', '1,3,7' or '11-30,35'."""

import re
from typing import NamedTuple

from tfvn import checks

__all__ = ["MOST", "Ranges", "check", "numbers", "parse"]

# Numbers in ranges such as '1-10' are held in lists: of patients, slices and iterations.
MOST = 10**6
# What stands in a message.
_EXAMPLES = "numbers such as '1-10' or '1,3,7'"
_RANGE = re.compile(r"\s*([0-9]{1,18})\s*(?:-\s*([0-9]{1,18})\s*)?")


class Ranges(NamedTuple):
    """What a text says, or why it says nothing.

    ranges: pairs (first, last); empty where something is wrong.
    wrong: what would have been expected, "" where nothing is wrong.
    is_text_of_numbers: whether the text consists of numbers, though they may be too many.
    """

    ranges: list
    wrong: str = ""
    is_text_of_numbers: bool = True

    def count(self):
        """How many numbers there are."""
        return _count(self.ranges)


def numbers(text):
    """The numbers of `'1-3,7'`: [1, 2, 3, 7].

    Raises:
        ValueError: for anything else, for the same number twice, and for more than a million of
            them.
    """
    found = parse(text)
    if found.wrong:
        raise ValueError(f"expected {found.wrong}. Received: {checks.shown(text)}")
    result = []
    for first, last in found.ranges:
        result += range(first, last + 1)
    return result


def check(name, text, expected):
    """The `Ranges` of an argument.

    Args:
        name: of the argument.
        text: what came for it.
        expected: what it has to be, for the message: "patients such as '1-10'".

    Raises:
        ValueError: for a text that `numbers` refuses.
    """
    found = parse(text)
    if not found.wrong:
        return found
    wrong = found.wrong if found.is_text_of_numbers else expected
    raise ValueError(f"{name} must be {wrong}. Received: {name}={checks.shown(text)}")


def parse(text):
    """The `Ranges` of a text. No list of their numbers is made."""
    ranges = []
    for part in str(text).split(","):
        match = _RANGE.fullmatch(part)
        if not match:
            return Ranges([], _EXAMPLES, False)
        first = int(match[1])
        last = int(match[2] or first)
        if last < first:
            return Ranges([], _EXAMPLES, False)
        ranges.append((first, last))
    if _count(ranges) > MOST:
        return Ranges([], f"at most {MOST} numbers")
    ordered = sorted(ranges)
    for earlier, later in zip(ordered, ordered[1:]):
        if later[0] <= earlier[1]:
            return Ranges([], "different numbers")
    return Ranges(ranges)


def _count(ranges):
    return sum(last - first + 1 for first, last in ranges)

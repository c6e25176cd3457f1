"""Places of names in a plot, such that none covers another one or a mark.

One name after the other takes the free place that is nearest to its mark, of the places on a fine
grid. A name that is not beside its mark has a line to it. Names that come later leave the line
free, and it goes around earlier ones where one of the nearest places allows it. A name for which
there is no place is left out: who points at the mark reads it.

The width of a name is that of wide letters, as each reader has other fonts.
"""

import unicodedata

import numpy as np

__all__ = ["HEIGHT", "placed", "width_of"]

# Of a line of text, and of that above the line that letters stand on, in the drawing's units.
HEIGHT, _ASCENT = 14, 11
_FONT_SIZE = 11
# Widths of letters as shares of the font size.
_WIDTHS = {"mwMW@%&": 1.0, " iIjlrtf.,:;'|!()[]/-": 0.42}
_CAPITAL, _LETTER, _OTHER, _DOUBLE = 0.79, 0.64, 0.8, 1.1
# A longer name is cut.
_LONGEST = 28
# Between places, across and up.
_STEPS = 5, 4
# Around a mark and around a line, and from where on there is a line.
_MARK, _CLEAR, _FAR = 7, 2, 13
# Between the points that a line is known by: less than a name is high.
_APART = 8
# How much less than its distance to the mark it counts where a name begins.
_BEGINNING = 0.05
# So many of the nearest places are tried for a line that crosses no name.
_TRIED = 150


def placed(points, names, size):
    """Finds places for names.

    Args:
        points: the marks, pairs (x, y); y grows downwards.
        names: their texts, in the same order.
        size: the width and the height of the plot.

    Returns:
        A list with a dict for each name: its `text`; `x` and `y` of where its letters begin, or of
        where they end if its `anchor` is "end" and not "start"; and `line`, the two ends of the
        line to its mark or () without one. None for a name without a place.
    """
    marks = np.array(points, float).reshape(-1, 2)
    boxes, lines, found = np.zeros((0, 4)), np.zeros((0, 2)), []
    for mark, name in zip(marks, names):
        text = name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…"
        box = _place(mark, _places(width_of(text), size), marks, boxes, lines)
        if box is None:
            found.append(None)
            continue
        boxes = np.vstack([boxes, box])
        line = _line(mark, box)
        lines = np.vstack([lines, line])
        found.append({"text": text, **_drawn(mark, box, line)})
    return found


def width_of(text):
    """The width that a text has at most in usual fonts, in the drawing's units."""
    return _FONT_SIZE * sum(map(_share, text))


def _share(letter):
    for letters, share in _WIDTHS.items():
        if letter in letters:
            return share
    if unicodedata.east_asian_width(letter) in "WF":
        return _DOUBLE
    if not letter.isascii():
        return _OTHER
    return _CAPITAL if letter.isupper() else _LETTER


def _places(width, size):
    """All boxes that a name may take, (places, 4): left, top, right and bottom."""
    across = np.arange(0, size[0] - width, _STEPS[0])
    down = np.arange(0, size[1] - HEIGHT, _STEPS[1])
    left, top = (each.ravel() for each in np.meshgrid(across, down))
    return np.stack([left, top, left + width, top + HEIGHT], 1)


def _place(mark, places, marks, boxes, lines):
    """The nearest free box; None where there is none."""
    free = ~_overlaps(places, boxes).any(1)
    free &= ~_holds(places, marks, _MARK).any(1) & ~_holds(places, lines, _CLEAR).any(1)
    places = places[free]
    beginning = np.stack([places[:, 0], (places[:, 1] + places[:, 3]) / 2], 1)
    far = np.linalg.norm(_nearest(mark, places) - mark, axis=1)
    far += _BEGINNING * np.linalg.norm(beginning - mark, axis=1)
    nearest = places[np.argsort(far, kind="stable")[:_TRIED]]
    for place in nearest:
        if not _holds(boxes, _line(mark, place), 0).any():
            return place
    return nearest[0] if len(nearest) else None


def _overlaps(places, boxes):
    """Whether boxes overlap others, (places, boxes)."""
    places = places[:, None]
    begins = places[..., :2] < boxes[:, 2:]
    ends = boxes[:, :2] < places[..., 2:]
    return (begins & ends).all(2)


def _holds(boxes, points, margin):
    """Whether boxes hold points or are as near to them as the margin, (boxes, points)."""
    low = boxes[:, None, :2] - margin < points
    return (low & (points < boxes[:, None, 2:] + margin)).all(2)


def _nearest(mark, boxes):
    """The points of boxes that are nearest to a mark, (..., 2)."""
    return np.clip(mark, boxes[..., :2], boxes[..., 2:])


def _line(mark, box):
    """The points of the line from a mark to its name, (points, 2); none where they are close."""
    end = _nearest(mark, box)
    far = np.linalg.norm(end - mark)
    if far <= _FAR:
        return np.zeros((0, 2))
    return np.linspace(mark, end, int(far / _APART) + 2)


def _drawn(mark, box, line):
    """How a name in a box is drawn."""
    left, top, right, _ = box
    # Letters may be narrower than the box. They stand at the end that is near to the mark.
    anchor, x = ("end", right) if right < mark[0] else ("start", left)
    x, y = _rounded([x, top + _ASCENT])
    ends = [_rounded(mark), _rounded(line[-1])] if len(line) else ()
    return {"anchor": anchor, "x": x, "y": y, "line": ends}


def _rounded(point):
    return tuple(round(float(value), 2) for value in point)

"""How all figures look.

They are drawn for a page 7 inches wide, with text of 8 points and colours that colour-blind readers
tell apart. Everything is drawn on `matplotlib.figure.Figure` without pyplot: no display is needed
and no state is left behind.
"""

import functools
import math
import warnings

import matplotlib

from tfvn.tables import printable

__all__ = [
    "COLORS",
    "MARKERS",
    "UNITS",
    "WIDTH",
    "axes_at",
    "label",
    "open_axes",
    "room_for",
    "shortened",
    "show",
    "styled",
]

WIDTH = 7.0  # of a page, in inches
_SETTINGS = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "legend.fontsize": 8,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "axes.linewidth": 0.6,
    "lines.linewidth": 1.3,
    "savefig.dpi": 300,
}
# Okabe and Ito's palette, black first; yellow is left out, it is hard to see on white.
COLORS = ("#000000", "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9")
MARKERS = "osD^vP*X<>"
UNITS = "normalised image units"


def styled(draw):
    """Lets a function draw with the settings above, and puts the user's own back."""

    @functools.wraps(draw)
    def wrapped(*arguments):
        with matplotlib.rc_context(), warnings.catch_warnings():
            # Matplotlib's own use of pyparsing.
            warnings.simplefilter("ignore", DeprecationWarning)
            # Names of models may hold signs that the font lacks.
            warnings.filterwarnings("ignore", r"Glyph .* missing from", UserWarning)
            matplotlib.rcdefaults()
            matplotlib.rcParams.update(_SETTINGS)
            draw(*arguments)

    return wrapped


def label(name):
    """A model's name as Matplotlib shows it as it is: on one line, and without formulas."""
    text = printable(name).replace("$", r"\$")
    # In a legend, a name that begins with a low line would not be shown.
    if text.startswith("_"):
        return f" {text}"
    return text


def room_for(names):
    """How many names of a legend stand side by side at 8 points, and the inches below each other.

    Args:
        names: all of them, as `label` returns them.
    """
    longest = max(len(name) for name in names)
    columns = min(len(names), max(1, int(WIDTH / (0.55 + 0.065 * longest))))
    return columns, 0.2 * math.ceil(len(names) / columns)


def shortened(name, inches):
    """A name that fits a length at 8 points, its end cut off where it must be."""
    length = max(4, int(inches / 0.07))
    if len(name) <= length:
        return name
    return name[: length - 3] + "..."


def axes_at(figure, left, bottom, width, height):
    """Axes at a place given in inches, without ticks."""
    across, up = figure.get_size_inches()
    axes = figure.add_axes((left / across, bottom / up, width / across, height / up))
    axes.set(xticks=[], yticks=[])
    return axes


def open_axes(axes):
    """Makes axes for curves: open at the top and at the right, with a faint grid."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(linewidth=0.4, alpha=0.4)


def show(axes, image, limits, colors):
    """Shows an image in a colour map from the lower limit to the upper. Returns what was drawn."""
    axes.spines[:].set_visible(False)
    interpolation = "antialiased"
    if colors == "twilight":
        # Averaging neighbouring pixels would draw lines where the phase wraps.
        interpolation = "nearest"
    return axes.imshow(
        image,
        cmap=colors,
        vmin=limits[0],
        vmax=limits[1],
        aspect="equal",
        interpolation=interpolation,
    )

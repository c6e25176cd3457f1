"""The picture of a scan's smoothed reconstruction, with the standard deviation of its draws."""

from matplotlib.figure import Figure

from tfvn.figures.style import WIDTH, axes_at, show, styled

__all__ = ["deviation"]

# Margins in inches: between the panels, above and below them, and of the colour bar.
_GAP, _HEAD, _FOOT = 0.1, 0.42, 0.12
_BAR, _LABELS = 0.1, 0.5


@styled
def deviation(path, image, standard_deviation, white, brightest, note):
    """A smoothed reconstruction and beside it the standard deviation of its draws.

    The deviation is in % of what is shown as white.

    Args:
        path: file to write.
        image, standard_deviation: (rows, width), in the same units.
        white, brightest: the values at the ends of their scales.
        note: how the draws were made.
    """
    white = white or 1
    width = (WIDTH - 3 * _GAP - _BAR - _LABELS) / 2
    height = width * image.shape[0] / image.shape[1]
    figure = Figure((WIDTH, _HEAD + height + _FOOT))
    axes = axes_at(figure, _GAP, _FOOT, width, height)
    show(axes, image, (0, white), "gray")
    axes.set_title("mean of the draws", pad=3)
    axes = axes_at(figure, 2 * _GAP + width, _FOOT, width, height)
    limit = 100 * brightest / white or 1
    drawn = show(axes, 100 * standard_deviation / white, (0, limit), "inferno")
    axes.set_title(f"standard deviation of the draws, % of white\n{note}", pad=3)
    bar_axes = axes_at(figure, 3 * _GAP + 2 * width, _FOOT, _BAR, height)
    figure.colorbar(drawn, cax=bar_axes)
    figure.savefig(path)

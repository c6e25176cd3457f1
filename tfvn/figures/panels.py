"""Rows and columns of images, as figures of several models have them."""

from matplotlib.ticker import MaxNLocator

from tfvn.figures.style import WIDTH

__all__ = ["OUTLINE", "WHITE", "Layout", "add_bar_beside"]

# The colour of lines on a grey image.
OUTLINE = "#F0E442"
# Brighter pixels, a thousandth of all, are white too.
WHITE = 99.9


class Layout:
    """Where the panels are, in inches.

    Args:
        rows, columns: numbers of panels.
        shape: (rows, width) of the images.
        with_bar: whether there is a colour bar at the right.
    """

    gap, head, foot, side = 0.04, 0.24, 0.2, 0.22

    def __init__(self, rows, columns, shape, with_bar):
        self.rows, self.columns = rows, columns
        bar_side = 0.04
        if with_bar:
            bar_side = 0.74
        free = WIDTH - self.side - bar_side - self.gap * (columns - 1)
        self.panel = min(free / columns, 2.2)
        self.step = self.panel * shape[0] / shape[1] + self.gap
        # Wide enough for the note below.
        width = max(self.side + bar_side + (self.panel + self.gap) * columns - self.gap, 4.8)
        self.size = width, self.head + self.step * rows + self.foot

    def place(self, row, column):
        """Left, bottom, width and height of a panel."""
        left = self.side + column * (self.panel + self.gap)
        bottom = self.foot + self.gap / 2 + (self.rows - 1 - row) * self.step
        return left, bottom, self.panel, self.step - self.gap

    def bar_place(self):
        """Left, bottom, width and height of the colour bar."""
        height = min(self.step * self.rows - self.gap, 3.0)
        middle = self.foot + self.step * self.rows / 2
        left = self.side + (self.panel + self.gap) * self.columns + 0.03
        return left, middle - height / 2, 0.08, height


def add_bar_beside(figure, axes, drawn, word):
    """A colour bar of differences, with what they are beside it."""
    bar = figure.colorbar(drawn, cax=axes)
    bar.set_label(f"{word} (image units)", labelpad=1)
    bar.ax.tick_params(length=2, pad=1)
    bar.locator = MaxNLocator(5)
    bar.update_ticks()

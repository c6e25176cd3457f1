"""What every source of slices has: slices, and what is known of them before they are read."""

__all__ = ["Source"]


class Source:
    """A source of multi-coil slices: the base class of those of the formats.

    A source defines `len(source)`, `source.name(index)`, `source.shape(index)`, (coils, height,
    width), `source.fingerprint(index)`, see `tfvn.data.prepared`, and `source[index]`, a
    `tfvn.data.sample.Sample` that is not normalised. It may define the rest.

    Attributes:
        readout_oversampling: whether images are the central half of the height.
        mask_height: 1 where all masks are constant along the height, None if that is not known.
        maps_origin: where the coil maps come from, in words.
    """

    readout_oversampling = False
    mask_height = None
    maps_origin = "from the data"

    def doubts(self, index):
        """The texts of the warnings of a slice that was read."""
        del index  # There are none.
        return []

    def patient(self, index):
        """What tells the patient of a slice from others. Of a source that does not know, all slices
        are of one.
        """
        del index
        return ""

"""What a model must show before it becomes a row: `--add-model`.

It is asked on the middle slice of the board's test data. The questions on its answers and its
gradients are probes of `tfvn.results.probes`, with their limits. A network that has yet to be
trained is asked as it begins.

A model that optimises for each measurement may have a gradient that is cut. It says so by its
track, "dynamic", is attacked in other ways too, and its gradient is told and not required.
"""

from typing import NamedTuple

import numpy as np

from tfvn import data
from tfvn.choices import TRACKS
from tfvn.models.equal import with_readout_oversampling
from tfvn.models.network_files import load_model
from tfvn.results.asked import told_of
from tfvn.results.candidates import cases
from tfvn.results.flags import PASSED
from tfvn.results.probes import flags_of_model

__all__ = ["Item", "asked", "told"]

# The rules that are asked, what they are called here, and whether a dynamic model needs them.
_RULES = {
    "no answer": ("the answer is finite", True),
    "random": ("it is the same for equal keys", True),
    "batch dependence": ("it is the same with other batch mates", True),
    "zero gradient": ("there is a gradient", False),
    "gradient wrong": ("the gradient equals central differences", False),
}
# Letters of what was seen: an error of others may be a page.
_LONGEST = 300


class Item(NamedTuple):
    """One question.

    what: is asked.
    passed: whether it is so, or need not be.
    note: what was seen.
    """

    what: str
    passed: bool
    note: str


def asked(config):
    """The checklist of a row.

    Args:
        config: its `tfvn.config.Config`.

    Returns:
        A list of `Item`. Where the model cannot be made, that is the only one.
    """
    try:
        model = _model_of(config)
    # A file may hold anything, and raise as much.
    except Exception as error:
        return [Item("it loads", False, told_of(error))]
    count = len(data.source(config, "test"))
    (case,) = cases(config, data.source(config, "test"), start=count // 2, step=count)
    sizes = [int(np.prod(weight.shape)) for weight in model.trainable_weights]
    return [
        Item("it loads", True, f"{type(model).__name__}, {sum(sizes):,} parameters"),
        Item("its track is declared", model.track in TRACKS, model.track),
        *_probed(model, case),
        _shape(model, case),
    ]


def _model_of(config):
    """The network of a row in its defence, trained if there is a file of it."""
    oversampling = config.dataset.readout_oversampling
    if config.model.file:
        network = with_readout_oversampling(load_model(config.model.file), oversampling)
    else:
        network = config.model.make(readout_oversampling=oversampling, seed=config.seed)
        network.make_weights()
    return config.defended(network)


def _probed(model, case):
    """What the probes say, a list of `Item`."""
    index = case.inputs["sample_index"]
    flags = flags_of_model(model, case.inputs, case.reference, index, rules=tuple(_RULES))
    found = []
    for flag in flags:
        what, always = _RULES[flag.name]
        required = always or model.track != "dynamic"
        _, _, note = str(flag).partition(flag.state)
        note = note.lstrip(",: ")
        if flag.state != PASSED and not required:
            note = f"not required of a dynamic model. {note}"
        found.append(Item(what, flag.state == PASSED or not required, note))
    return found


def _shape(model, case):
    """Whether the answer is one real image of the size of the true one."""
    what, expected = "it has the shape of the true image", tuple(case.reference.shape)
    try:
        keys = model.keys(case.inputs["sample_index"])
        shape = tuple(model.reconstruct(model.measured(case.inputs), keys).shape)
    except Exception as error:
        return Item(what, False, told_of(error))
    return Item(what, shape == expected, f"{shape}, and the image {expected}")


def told(items):
    """A checklist as text, a line each."""
    lines = []
    for item in items:
        state = "passed" if item.passed else "FAILED"
        note = " ".join(item.note.split())[:_LONGEST]
        lines.append(f"  {state}  {item.what}: {note}")
    return "\n".join(lines)

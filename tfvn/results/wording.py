"""Tables and comparisons as texts: what `table1.md`, the report and the terminal show."""

import math

import numpy as np

from tfvn import attacks
from tfvn.choices import TRACKS
from tfvn.results.aggregate import COUNTED
from tfvn.results.rows import attack_of, dataset_of, is_clean, size_of
from tfvn.tables import Table, decimals, digits

__all__ = [
    "comparison_text",
    "head_of",
    "labels_of",
    "markdown",
    "scores_of",
    "tables",
    "tracks_text",
    "worst_tables",
]


def markdown(table, maps=""):
    """Table 1 as Markdown: the tables of `tables` one after the other, aligned to be read as text.

    Args:
        table, maps: as for `tables`.
    """
    parts = tables(table, maps)
    text = "".join(f"{part.as_text()}\n" for part in parts)
    if len(parts) == 1:
        text += "None of these runs has attacks: attack.py makes them.\n\n"
    return f"{text}{parts[0].note}\n"


def tables(table, maps=""):
    """RMSE and SSIM, then mean perturbation effects, model by radius: a list of `Table`.

    Each norm of an attack's ball, and the attack of Antun et al., has such tables of its own.

    Args:
        table: the list of dicts of `aggregate`.
        maps: where the coil maps come from, for the note; "" says nothing.
    """
    there = {entry["attack"] for entry in table}
    kinds = list(attacks.kinds())
    parts = []
    for kind in [kind for kind in kinds if kind in there] or kinds[:1]:
        own = [entry for entry in table if is_clean(entry) or entry["attack"] == kind]
        block = _Block(attacks.of(kind), own)
        parts.append(block.errors())
        if len(block.sizes) > 1:
            parts.append(block.effects())
    return [parts[0]._replace(note=_note(table, maps)), *parts[1:]]


def tracks_text(table):
    """How the models must be attacked that are not deterministic; "" where all are.

    Args:
        table: the list of dicts of `aggregate`.
    """
    tracks = {entry["model"]: entry["track"] for entry in table}
    told = [f"{name} {track}" for name, track in tracks.items() if track != TRACKS[0]]
    if not told:
        return ""
    return f"Tracks, beside {TRACKS[0]}: {', '.join(told)} (docs/howto/attack.md)."


def worst_tables(table, won):
    """The tables of the worst of several attacks on each image.

    Args:
        table: the list of dicts of `aggregate`, of the rows of `strongest`.
        won: what `winners` returns. Without any there are no such tables.
    """
    if not won:
        return []
    kinds = [entry["attack"] for entry in table if not is_clean(entry)]
    title = f"the worst of {', '.join(won)} on each image"
    block = _Block(attacks.of(kinds[0]), table, title)
    counts = [f"{kind} {count}" for kind, count in won.items()]
    note = f"The largest effect is of: {', '.join(counts)} (of {sum(won.values())} cases)."
    return [block.errors(), block.effects()._replace(note=note)]


def _note(table, maps):
    """What stands below the first table."""
    count = table[0]["num_images"]
    note = (
        "RMSE: sqrt(mean || f - |y| ||_2^2); effect: || f(k + A r) - f(k) ||_2 with the norm of r"
        " <= radius (l2 unless it says otherwise; in %: of the mean ||y||_2); sigma: k-space noise"
        f" of the smoothing; K: draws of the smoothed prediction; {count}"
        f" {'slice' if count == 1 else 'slices'}, normalised to max |A^H k| = 1."
    )
    if not all(math.isnan(entry["gradients"]) for entry in table):
        note += (
            " Gradients: those of a slice that the training took, with that of its initial weights."
        )
    if any(_is_partial(entry, count) for entry in table):
        note += (
            " (n): a mean over n slices alone, as the others have no such number (no reference, or"
            " an empty one)."
        )
    if maps:
        note += f" Coil maps: {maps}."
    return note


def _is_partial(entry, count):
    """Whether a mean of an entry is of some slices, and not of all."""
    return any(0 < _count(entry, key) < count for key in COUNTED)


def _count(entry, key):
    """Of how many images a mean is, in the table of one model and size."""
    return entry.get(f"num_{key}", entry["num_images"])


class _Block:
    """The tables of one kind of attack, beside the clean images.

    Args:
        attack: of that kind.
        table: the entries of that kind and the clean ones.
        title: what the titles say of it, if not what the attack says itself.
    """

    def __init__(self, attack, table, title=None):
        self.attack = attack
        self.title = attack.title if title is None else title
        self.models = list(dict.fromkeys(entry["model"] for entry in table))
        self.cells = {(entry["model"], size_of(entry)): entry for entry in table}
        heads = dict(sorted((size_of(entry), head_of(entry)) for entry in table))
        # The first size is 0: the clean images.
        self.sizes, self.heads = list(heads), list(heads.values())

    def errors(self):
        """RMSE and SSIM as a `Table`."""
        heads, below = ["model"], [""]
        best = [""]
        for head in self.heads:
            heads += [head, ""]
            below += ["RMSE", "SSIM"]
            best += ["lowest", "highest"]
        lines = [heads, below]
        for model in self.models:
            line = [model]
            for size in self.sizes:
                line.append(self.cell(model, size, "rmse", digits))
                line.append(self.cell(model, size, "ssim", decimals))
            lines.append(line)
        return Table(f"Error of the reconstructions{self._named()}", lines, tuple(best), heads=2)

    def effects(self):
        """The mean effects as a `Table`; where the size is no l2 norm, this stands beside them."""
        rows = [["gradients", "sigma", "K"]]
        rows += [_of_model(self.cells[model, 0.0]) for model in self.models]
        if all(row[0] == "-" for row in rows[1:]):
            rows = [row[1:] for row in rows]
        lines = [["model", *rows[0], *self.heads[1:]]]
        for model, row in zip(self.models, rows[1:]):
            line = [model, *row]
            line += [self._effect(model, size) for size in self.sizes[1:]]
            lines.append(line)
        title = "Mean perturbation effect"
        if not self.attack.bounded_in_l2:
            title += f", and mean {self.attack.changes.length}"
        best = [""] * len(lines[0])
        if self.attack.comparable:
            attacked = len(self.sizes) - 1
            best[-attacked:] = ["lowest"] * attacked
        return Table(f"{title}{self._named()}", lines, tuple(best))

    def cell(self, model, size, key, form):
        """A mean as text, with the number of its images where they are not all."""
        if (model, size) not in self.cells:
            return "-"
        entry = self.cells[model, size]
        text, count = form(entry[key]), _count(entry, key)
        if text == "-" or count == entry["num_images"]:
            return text
        return f"{text} ({count})"

    def _effect(self, model, size):
        effect = self.cell(model, size, "effect", digits)
        missed = self.cells.get((model, size), {}).get("missed", math.nan)
        if not math.isnan(missed):
            effect += f" ({missed:.0%} missed)"
        if self.attack.bounded_in_l2 or effect == "-":
            return effect
        return f"{effect}, {self.cell(model, size, 'norm', digits)}"

    def _named(self):
        """What the titles say of the kind."""
        if not self.title:
            return ""
        return f", {self.title}"


def _of_model(entry):
    """What a table says of a model, column by column."""
    gradients = "-" if math.isnan(entry["gradients"]) else f"{entry['gradients']:.0f}"
    return [gradients, f"{entry['sigma']:g}{_noise_name(entry)}", _draws(entry)]


def _draws(entry):
    """The number of draws of an entry's model; "-" for one without noise."""
    if not entry["noise"]:
        return "-"
    return str(entry["num_samples"])


def _noise_name(entry):
    if entry["noise"] in ("", "gaussian"):
        return ""
    return f" {entry['noise']}"


def head_of(entry):
    """What an entry's attack is called above a column."""
    if is_clean(entry):
        return "clean"
    return attack_of(entry).head(size_of(entry), entry["image_norm"])


def labels_of(table):
    """What the images of `reconstructions.h5` are called in the report.

    Returns:
        A dict from the name of a dataset to the text, clean first.
    """
    labels = {"clean": "clean"}
    for kind in attacks.kinds():
        own = [entry for entry in table if entry["attack"] == kind]
        for entry in sorted(own, key=size_of):
            label = attacks.of(kind).label(size_of(entry), entry["image_norm"])
            labels[dataset_of(entry)] = label
    return labels


def scores_of(table):
    """What TensorBoard compares of one model, as {name: number}.

    Names are short, for the axes there.
    """
    scores = {}
    for entry in table:
        name = dataset_of(entry).replace("radius_", "r")
        second = "ssim" if is_clean(entry) else "effect"
        for key in ("rmse", second):
            scores[f"{name}_{key}"] = entry[key]
    return scores


def comparison_text(pairs):
    """What `compare_attacks` found, in words.

    There are sentences for each attack; "" if it found nothing.
    """
    texts = []
    for kind in dict.fromkeys(pair.attack for pair in pairs):
        own = [pair for pair in pairs if pair.attack == kind]
        texts.append(_compared(attacks.of(kind).title, own))
    return " ".join(texts)


def _compared(title, pairs):
    inside = [pair for pair in pairs if not math.isnan(pair.projected)]
    outside = [pair for pair in pairs if math.isnan(pair.projected)]
    other = title.replace("attack of", "that of", 1)
    text = (
        f"Projected attack against {other}, at equal ||r||_2 (linear interpolation between the"
        " radii): "
    )
    if inside:
        wins = sum(pair.projected > pair.effect for pair in inside)
        ratios = [max(pair.projected, 1e-12) / max(pair.effect, 1e-12) for pair in inside]
        ratio = float(np.exp(np.mean(np.log(ratios))))
        text += (
            f"the projected one is stronger in {wins} of {len(inside)} cases, its effect"
            f" {ratio:.2f} times as large (geometric mean)."
        )
    if outside:
        norms = [pair.norm for pair in outside]
        text += (
            f" {len(outside)} of {len(pairs)} cases are outside the radii: ||r||_2 from"
            f" {min(norms):.3g} to {max(norms):.3g}; attack with such radii to compare."
        )
    return text

"""Keys of the first edition, whose configurations were flat, and how they are written now."""

import shlex
from typing import NamedTuple

from tfvn import yaml_text

__all__ = ["OLD_KEYS", "check"]

_DATA = (
    "protocol train_patients train_slices test_patients test_slices padding_lines sensitivity_path"
    " sensitivity_array calibration_lines maps_from coil_axis transpose slice_index"
    " readout_oversampling cache_dir height width num_coils receiver_noise num_train num_test"
)
_MODEL = (
    "num_stages filters kernel_size num_centers grid_limit bandwidth scale initial_scale"
    " initial_data_weight"
)
_TRAINING = (
    "initial_weights iterations batch_size checkpoint_every log_images_every profile time_budget"
    " progress"
)
_OPTIMIZER = "stagewise momentum initial_lipschitz learning_rate"
_SEARCH = (
    "parameters sigma num_stages filters momentum learning_rate method trials iterations"
    " first_iterations validation radius steps num_samples"
)
# Of each old key the places where its value stands now.
OLD_KEYS = {
    "dataset": ("data.format",),
    "data_path": ("data.path",),
    "data_array": ("data.array",),
    **{key: (f"data.{key}",) for key in _DATA.split()},
    "mask": ("sampling.mask",),
    "mask_fraction": ("sampling.fraction",),
    "acceleration": ("sampling.acceleration",),
    "center_fraction": ("sampling.center_fraction",),
    "mask_seed": ("sampling.seed",),
    "mask_path": ("sampling.path",),
    "mask_array": ("sampling.array",),
    "model": ("model.file",),
    **{key: (f"model.{key}",) for key in _MODEL.split()},
    **{key: (f"training.{key}",) for key in _TRAINING.split()},
    "optimizer": ("training.optimizer.name",),
    **{key: (f"training.optimizer.{key}",) for key in _OPTIMIZER.split()},
    "learning_rate_schedule": ("training.optimizer.schedule",),
    "sigma": ("training.recipe.sigma", "defence.sigma"),
    "noise": ("training.recipe.law", "defence.law"),
    **{f"tune_{key}": (f"search.{key}",) for key in _SEARCH.split()},
    "num_samples": ("defence.num_samples",),
    "chunk_size": ("defence.chunk_size",),
    "attack_method": ("attacks",),
    "attack_radii": ("attacks.ascent.sizes",),
    "attack_norm": ("attacks.ascent.norm",),
    "attack_steps": ("attacks.ascent.steps",),
    "attack_step_size": ("attacks.ascent.step_size",),
    "attack_momentum": ("attacks.ascent.momentum",),
    "attack_restarts": ("attacks.ascent.restarts",),
    "attack_gradient": ("attacks.ascent.gradient",),
    "attack_noise": ("attacks.ascent.noise",),
    "attack_num_samples": ("attacks.ascent.num_samples",),
    "antun_steps": ("attacks.antun.sizes",),
    "antun_step_size": ("attacks.antun.step_size",),
    "antun_penalty": ("attacks.antun.penalty",),
    "antun_start_scale": ("attacks.antun.start_scale",),
    "antun_reference": ("attacks.antun.reference",),
    "antun_region": ("attacks.antun.region",),
}
# The names that a positive sigma stood for, and those of none.
_NOISE = {"training.recipe.name": "noise", "defence.name": "smoothed"}
_NO_NOISE = {"training.recipe.name": "clean", "defence.name": "none"}
_METHODS = {"projected": "ascent"}
# Keys of both attacks.
_SHARED = ("attack_momentum", "attack_gradient", "attack_noise", "attack_num_samples")


def check(source, written, sections, as_words=False):
    """Checks that no key is one of the first edition.

    Args:
        source: where they were written: a file's name or --set.
        written: keys and their values as texts, a dict. A key of a section has dots.
        sections: a dict of `tfvn.parts.Section`, by their names.
        as_words: whether they stand on a command line. Then they change a configuration, which has
            names of its own.

    Raises:
        ValueError: if there is one. The text says how all of them are written now.
    """
    # `model` is a word of both editions: the file of a network, and a section.
    if not {key for key in written if key in OLD_KEYS and key != "model"}:
        return
    old = {key: value for key, value in written.items() if key in OLD_KEYS or key == "seed"}
    new = _translated(old, sections, as_words)
    unused = ""
    if new.unused:
        unused = f" Nothing used {', '.join(new.unused)}."
    anew = f" {shlex.join(_words(new.found))}"
    if not as_words:
        anew = f"\n\n{yaml_text.written(_tree(new.found), only_texts=True)}"
    raise ValueError(
        f"{source}: the keys of a configuration stand in sections now, see"
        f" docs/api/configuration.md.{unused} These keys, written anew:{anew}"
    )


class _Translated(NamedTuple):
    """What old keys have become.

    found: keys of now, with dots, and their values.
    unused: old keys that had no meaning beside the others.
    """

    found: dict
    unused: list


def _translated(old, sections, as_words):
    """Old keys and their values as those of now, a `_Translated`."""
    found = {}
    method = old.get("attack_method", "projected")
    if "attack_method" in old:
        found["attacks"] = _METHODS.get(str(method), str(method))
    sigma = old.get("sigma")
    if sigma is not None and not _is_zero(sigma):
        found.update(_NOISE)
    elif sigma is not None and as_words:
        found.update(_NO_NOISE)
    placed = _placed(old, method)
    names = {**found, **{one.place: one.value for one in placed}}
    if not as_words:
        # In a file, what is not there has its default.
        names = {"attacks": "ascent", **_defaults(sections), **names}
    unused = []
    for one in placed:
        if _is_used(one.place, names, sections):
            found[one.place] = one.value
        elif one.key not in unused:
            unused.append(one.key)
    order = ["seed", *sections]
    in_order = sorted(found, key=lambda place: order.index(place.partition(".")[0]))
    return _Translated({place: found[place] for place in in_order}, unused)


class _Placed(NamedTuple):
    """An old key, where it stands now, and its value."""

    key: str
    place: str
    value: object


def _placed(old, method):
    """Where old keys stand now, a list of `_Placed`."""
    placed = []
    for key, value in old.items():
        places = OLD_KEYS.get(key, (key,))
        if key == "bandwidth" and _is_zero(value):
            # It stood for the grid step.
            value = "null"
        if key in _SHARED and method == "antun":
            places = [place.replace("ascent", "antun") for place in places]
        # A positive sigma stands for names too, and these two for nothing else.
        is_name = key == "attack_method" or (key == "sigma" and _is_zero(value))
        if not is_name:
            placed += [_Placed(key, place, value) for place in places]
    return placed


def _defaults(sections):
    """The names that sections have where nothing is said, by the keys that pick them."""
    found = {}
    for section in sections.values():
        for inner in (section, *section.inside.values()):
            if inner.picked_by and not inner.several:
                found[inner.picked_by_in_full] = inner.default
    return found


def _is_used(place, names, sections):
    """Whether a key has a meaning beside the names that are known; `names` has those."""
    *above, key = place.split(".")
    if not above:
        return True
    section = sections[above[0]]
    if section.several:
        return names.get(above[0], above[1]) == above[1]
    for inner in above[1:]:
        section = section.inside[inner]
    if not section.picked_by or key == section.picked_by:
        return True
    if section.instead and names.get(f"{section.place}.{section.instead}"):
        # A file of a network tells all else.
        return key == section.instead
    name = names.get(section.picked_by_in_full)
    # A wrong name is told when it is read.
    return name not in section.names() or key in section.keys(name)


def _is_zero(value):
    try:
        return value is not None and float(value) == 0
    except (TypeError, ValueError):
        return False


def _words(found):
    """Words behind `--set`: `defence=smoothed` is short for `defence.name=smoothed`."""
    return [f"{key.removesuffix('.name')}={value}" for key, value in found.items()]


def _tree(found):
    """The keys in the sections of a YAML file."""
    tree = {}
    attacks = {}
    for key, value in found.items():
        *sections, last = key.split(".")
        if sections[:1] == ["attacks"]:
            attacks.setdefault(sections[1], {"name": sections[1]})[last] = value
        elif key == "attacks":
            attacks.setdefault(value, {"name": value})
        else:
            place = tree
            for section in sections:
                place = place.setdefault(section, {})
            place[last] = value
    if attacks:
        tree["attacks"] = list(attacks.values())
    return tree

"""Keys of the first edition, whose configurations were flat, and how they are written now."""

import yaml

__all__ = ["OLD_KEYS", "check", "translated"]

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
# What a key needs beside it.
_NAMES = {
    "training.recipe": ("training.recipe.name", "noise"),
    "defence": ("defence.name", "smoothed"),
}
_METHODS = {"projected": "ascent"}
# Keys of both attacks.
_SHARED = ("attack_momentum", "attack_gradient", "attack_noise", "attack_num_samples")


def check(source, written, as_words=False):
    """Checks that no key is one of the first edition.

    Args:
        source: where they were written: a file's name or --set.
        as_words: whether they stand on a command line.
        written: keys and their values as texts, a dict. A key of a section inside another has dots.

    Raises:
        ValueError: if there is one. The text says how all of them are written now.
    """
    old = {key: value for key, value in written.items() if key in OLD_KEYS}
    # These two are words of both editions: `model: vn.keras`, `mask: random`.
    if not set(old) - {"model"}:
        return
    old = {key: value for key, value in written.items() if key in OLD_KEYS or key == "seed"}
    found = translated(old)
    anew = f" {' '.join(_as_words(found))}" if as_words else f"\n\n{_as_yaml(found)}"
    raise ValueError(
        f"{source}: the keys of a configuration stand in sections now, see"
        f" docs/api/configuration.md. Written anew:{anew}"
    )


def translated(old):
    """Keys of now, with dots, and their values.

    Args:
        old: keys of the first edition and their values, a dict.
    """
    old = dict(old)
    found = {}
    if "seed" in old:
        found["seed"] = old.pop("seed")
    if _is_zero(old.get("bandwidth")):
        # The grid step is what a network takes of itself.
        del old["bandwidth"]
    plain = _is_zero(old.get("sigma"))
    if plain:
        for key in ("sigma", "noise", "num_samples", "chunk_size"):
            old.pop(key, None)
    method = old.pop("attack_method", None)
    for key, value in old.items():
        for place in _places(key, method):
            section, _, _ = place.rpartition(".")
            if section in _NAMES and "sigma" in old:
                name, chosen = _NAMES[section]
                found.setdefault(name, chosen)
            found[place] = value
    if method == "antun":
        # One attack was made at a time.
        found = {key: value for key, value in found.items() if "attacks.ascent." not in key}
    if method:
        found = {"attacks": _METHODS.get(method, method), **found}
    return found


def _places(key, method):
    places = OLD_KEYS[key]
    if key in _SHARED and method == "antun":
        return [place.replace("ascent", "antun") for place in places]
    return places


def _is_zero(value):
    try:
        return value is not None and float(value) == 0
    except (TypeError, ValueError):
        return False


def _as_words(found):
    words = []
    for key, value in found.items():
        text = ",".join(map(str, value)) if isinstance(value, (list, tuple)) else value
        # `defence=smoothed` is short for `defence.name=smoothed`.
        words.append(f"{key.removesuffix('.name')}={text}")
    return words


def _as_yaml(found):
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
    # Texts are written without quotes where they are plain: numbers are texts here.
    return yaml.dump(tree, Dumper=_PlainDumper, sort_keys=False, default_flow_style=False)


class _PlainDumper(yaml.SafeDumper):
    """Writes texts as they were written, in quotes only where YAML needs them."""

    yaml_implicit_resolvers = {}

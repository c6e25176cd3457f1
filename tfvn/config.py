"""The one schema of an experiment: flat, every key with its default, its meaning and its limits.

A YAML file or a `key=value` override can only set keys that exist here. A wrong key never becomes a
default.

Both give texts, and the key says what a text stands for. YAML's own guesses are never asked: in
YAML 1.1 a patient 010 is 8, 12:30 is 750 and `no` is false.
"""

import contextlib
import dataclasses
import difflib
import os
import re
from numbers import Real

import yaml

__all__ = ["CHOICES", "Config", "describe", "load", "numbers"]

# Seeds and counts are 32-bit integers in TensorFlow, and the reader of networks takes no larger
# number. Other numbers become infinite above the largest of single precision.
_LIMIT, _LARGEST_SINGLE = 2**31, 3.4e38
# Of the file of a network, as `tfvn.models.variational.largest_file` counts it: what is read back.
_LARGEST_NETWORK = 2**28
# Of a configuration file, which takes 5 kB with every key in it.
_LARGEST_FILE = 2**17
# Slices, steps, and numbers in ranges such as '1-10': what is held in lists.
_MOST = 10**6
_LONGEST_TOLD = 200
CHOICES = {
    "dataset": ("synthetic", "vlo", "measurement"),
    "mask": ("constant", "equispaced", "random", "file", "measured"),
    "padding_lines": ("measured", "unmeasured"),
    "maps_from": ("measured", "fully-sampled"),
    "optimizer": ("ipalm", "adam", "radam-lookahead", "conditional-gradient"),
    "learning_rate_schedule": ("constant", "cosine"),
    "progress": ("tqdm", "addons"),
    "tune_method": ("hyperband", "bayesian"),
    "noise": ("gaussian", "uniform", "laplace"),
    "attack_method": ("projected", "antun"),
    "attack_norm": ("l2", "l1", "linf"),
    "antun_reference": ("prediction", "truth"),
    "attack_gradient": ("full", "initial-image"),
    "attack_noise": ("fresh", "fixed"),
}


# Texts that are numbers and ranges of them, and what they are called in messages.
_NUMBERS = {
    "train_patients": "patients such as '1-10' or '1,3,7'",
    "train_slices": "slices such as '11-30' or '22'",
    "test_patients": "patients such as '1-10' or '1,3,7'",
    "test_slices": "slices such as '11-30' or '22'",
    "profile": "iterations such as '11-15'",
}
# What the size of a network depends on.
_SIZES = ("num_stages", "filters", "kernel_size", "num_centers")
_BOOLEANS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


def _key(default, meaning, minimum=None, above=None, maximum=None, below=None, whole=False):
    limits = dict(minimum=minimum, above=above, maximum=maximum, below=below, whole=whole)
    return dataclasses.field(default=default, metadata=dict(meaning=meaning, **limits))


@dataclasses.dataclass(frozen=True)
class Config:
    """A resolved configuration. Build it with `load`; every instance is validated.

    Raises:
        ValueError: for a value of the wrong type or outside its limits.
    """

    # Data
    dataset: str = _key(
        "synthetic", "synthetic | vlo (knee .mat folder) | measurement (one scan in one file)"
    )
    data_path: str = _key(
        "", "vlo: the root folder; measurement: the k-space file (.mat, .h5, .npy)"
    )
    protocol: str = _key("coronal_pd_fs", "vlo: the protocol's folder below the root")
    train_patients: str = _key("1-10", "vlo: patients to train on, as in '1-10' or '1,3,7'")
    train_slices: str = _key("11-30", "vlo: slices of each training patient")
    test_patients: str = _key("11-20", "vlo: patients to attack and evaluate")
    test_slices: str = _key("22", "vlo: slices of each test patient")
    padding_lines: str = _key(
        "measured",
        "vlo: never-measured padding lines count as measured zeros (original code) | unmeasured",
    )
    data_array: str = _key(
        "",
        "measurement: name of the k-space in its file, such as scan/kspace; empty: kspace, rawdata,"
        " raw or the only one",
    )
    sensitivity_path: str = _key(
        "", "measurement: file of coil maps; empty: estimate them from the k-space centre"
    )
    sensitivity_array: str = _key(
        "",
        "measurement: name of the maps in their file; empty: sensitivity_maps, sensitivities, maps"
        " or the only one",
    )
    calibration_lines: int = _key(
        0,
        "measurement: centre lines used to estimate coil maps; 0: as many as are measured, 24 at"
        " most",
        minimum=0,
    )
    maps_from: str = _key(
        "measured",
        "measurement: maps are estimated from what the mask leaves | fully-sampled: from all of the"
        " scan",
    )
    coil_axis: int = _key(
        -1,
        "measurement: axis of the coils in the file; -1: the loader's rule (docs/howto/data.md);"
        " -2: none",
        minimum=-2,
    )
    transpose: bool = _key(
        False, "measurement: exchange height and width (undersampling is along the width)"
    )
    slice_index: int = _key(0, "measurement: which slice of a multi-slice file", minimum=0)
    readout_oversampling: bool = _key(
        False, "the image is the central half of the readout (height)"
    )
    cache_dir: str = _key(
        "", "folder that keeps prepared slices; empty: read and prepare the raw data each time"
    )
    height: int = _key(640, "synthetic: rows of the slice", minimum=16, maximum=2**14)
    width: int = _key(368, "synthetic: columns of the slice", minimum=16, maximum=2**14)
    num_coils: int = _key(15, "synthetic: receiver coils", minimum=1, maximum=1024)
    receiver_noise: float = _key(
        0.002,
        "synthetic: standard deviation of k-space noise, relative to the largest image value",
        minimum=0,
    )
    num_train: int = _key(200, "synthetic: number of training slices", minimum=1, maximum=_MOST)
    num_test: int = _key(10, "synthetic: number of test slices", minimum=1, maximum=_MOST)
    # Sampling
    mask: str = _key(
        "constant",
        "constant (the paper's) | equispaced | random | file | measured (where k-space is not"
        " zero)",
    )
    mask_fraction: float = _key(0.15, "constant: sampled fraction of the lines", above=0, maximum=1)
    acceleration: float = _key(
        4.0,
        "equispaced: distance of the lines outside the centre; random: width / sampled lines",
        minimum=1,
    )
    center_fraction: float = _key(
        0.08, "equispaced, random: width of the fully sampled centre / width", minimum=0, maximum=1
    )
    mask_seed: int = _key(0, "random: seed of the mask", minimum=0)
    mask_path: str = _key("", "file: mask file (.mat, .h5, .npy); vlo: name below <protocol>/masks")
    mask_array: str = _key("", "file: name of the mask in its file; empty: mask or the only array")
    # Network
    model: str = _key(
        "", "a trained network to use as it is (.keras, .npz or .pt) instead of training one"
    )
    num_stages: int = _key(10, "stages of the network", minimum=1)
    filters: int = _key(24, "filters of a stage", minimum=1)
    kernel_size: int = _key(11, "side of a filter", minimum=2)
    num_centers: int = _key(31, "radial basis functions of an activation", minimum=2)
    grid_limit: float = _key(
        1.0, "their centres lie on [-grid_limit, grid_limit]", above=0, below=_LIMIT
    )
    bandwidth: float = _key(
        0.0,
        "their standard deviation; 0: the grid step (optox: the same; tensorflow-icg: 2 grid_limit"
        " / num_centers)",
        minimum=0,
        below=_LIMIT,
    )
    scale: float = _key(1.0, "factor before their sum (optox: 0.4)", above=0, below=_LIMIT)
    initial_scale: float = _key(
        0.04, "slope of the initial weights over their centres", minimum=0, below=_LIMIT
    )
    initial_data_weight: float = _key(1.0, "initial data-term weight", minimum=0, below=_LIMIT)
    # Training
    initial_weights: str = _key("", "start from these weights: a run directory or a model file")
    optimizer: str = _key(
        "ipalm",
        "ipalm (the paper's) | adam (projected after each step) | with tensorflow-addons:"
        " radam-lookahead (the same) | conditional-gradient (Frank-Wolfe on the filters, adam on"
        " the rest)",
    )
    iterations: int = _key(1000, "training iterations, one batch each", minimum=0)
    batch_size: int = _key(10, "slices of a training batch", minimum=1, maximum=10**4)
    stagewise: bool = _key(
        False,
        "ipalm: one stage's block at a time, each with its own curvature bound, as the"
        " original can",
    )
    momentum: float = _key(0.7, "ipalm: inertia", minimum=0, below=1)
    initial_lipschitz: float = _key(1000.0, "ipalm: first curvature bound of each block", above=0)
    learning_rate: float = _key(
        1e-3, "all but ipalm; of conditional-gradient's filters the share of a step, <= 1", above=0
    )
    learning_rate_schedule: str = _key(
        "constant", "all but ipalm: constant | cosine (to 0 over all iterations)"
    )
    checkpoint_every: int = _key(50, "iterations between checkpoints and validations", minimum=1)
    log_images_every: int = _key(
        1, "validations from one set of pictures in TensorBoard to the next; 0: none", minimum=0
    )
    profile: str = _key("", "iterations for TensorFlow's profiler, as in '11-15'; empty: none")
    time_budget: int = _key(
        0,
        "seconds until a training stops at its next checkpoint, to be continued; 0: none",
        minimum=0,
    )
    progress: str = _key(
        "tqdm",
        "bar of the training: tqdm | addons (tensorflow-addons': one between two checkpoints)",
    )
    sigma: float = _key(
        0.0,
        "k-space noise of training and smoothing, a real component's standard deviation",
        minimum=0,
    )
    noise: str = _key(
        "gaussian", "distribution of that noise: gaussian (the paper's) | uniform | laplace"
    )
    seed: int = _key(0, "seed of initial weights, data order, noise and attacks", minimum=0)
    # Search (train.py --tune)
    tune_parameters: str = _key(
        "sigma,num_stages,filters", "of sigma, num_stages, filters, momentum, learning_rate"
    )
    tune_sigma: list = _key(
        (0.0, 0.1), "two numbers: from, to; other lists: these values (so all below)", minimum=0
    )
    tune_num_stages: list = _key((4, 10), "stages to try", minimum=1, whole=True)
    tune_filters: list = _key((8, 24), "filters to try", minimum=1, whole=True)
    tune_momentum: list = _key((0.0, 0.9), "ipalm: inertia to try", minimum=0, below=1)
    tune_learning_rate: list = _key(
        (1e-4, 1e-2), "all but ipalm: learning rates to try, as many in each decade", above=0
    )
    tune_method: str = _key(
        "hyperband", "hyperband (many short trials, the best go on) | bayesian (Gaussian process)"
    )
    tune_trials: int = _key(20, "bayesian: trials", minimum=1)
    tune_iterations: int = _key(90, "training iterations of a whole trial", minimum=1)
    tune_first_iterations: int = _key(
        10, "hyperband: of its shortest trials; further rounds have 3 times as many", minimum=1
    )
    tune_validation: int = _key(
        10,
        "last training slices, held out to judge trials (vlo: take whole patients)",
        minimum=1,
        maximum=_MOST,
    )
    tune_radius: float = _key(
        2.5, "largest l2 norm of the attack that trials are judged under", minimum=0
    )
    tune_steps: int = _key(10, "steps of that attack", minimum=1, maximum=_MOST)
    tune_num_samples: int = _key(
        3, "K of the smoothed prediction that is judged (sigma > 0)", minimum=1
    )
    # Smoothing
    num_samples: int = _key(9, "K, noisy draws of the smoothed prediction (sigma > 0)", minimum=1)
    chunk_size: int = _key(
        0,
        "draws processed at once; 0: one on a CPU, as many as memory holds on an accelerator",
        minimum=0,
        maximum=_MOST,
    )
    # Attack
    attack_method: str = _key(
        "projected",
        "projected (the paper's) | antun (penalty instead of a ball, Antun et al. 2020)",
    )
    attack_norm: str = _key(
        "l2", "projected: norm of the ball, l2 | l1 | linf (of real and imaginary parts of r)"
    )
    attack_radii: list = _key(
        (1.5, 2.5, 3.5), "projected: largest norms of the perturbation r", minimum=0
    )
    attack_steps: int = _key(60, "projected: ascent steps", minimum=1, maximum=_MOST)
    attack_step_size: float = _key(0.5, "projected: step size of the ascent", above=0)
    attack_momentum: float = _key(0.9, "momentum of both attacks", minimum=0, maximum=1)
    attack_restarts: int = _key(
        1, "projected: random starts; the strongest result is kept", minimum=1, maximum=_MOST
    )
    attack_gradient: str = _key("full", "full | initial-image (through the first iterate only)")
    attack_noise: str = _key(
        "fresh", "against smoothed models: fresh draws each step | fixed, the model's own draws"
    )
    attack_num_samples: int = _key(0, "draws per attack step; 0: as many as num_samples", minimum=0)
    antun_steps: list = _key(
        (25,),
        "antun: steps after which r is stored, a ladder of perturbations",
        minimum=1,
        maximum=_MOST,
        whole=True,
    )
    antun_step_size: float = _key(0.005, "antun: step size", above=0)
    antun_penalty: float = _key(1.0, "antun: lambda of the penalty on ||r||^2 / 2", minimum=0)
    antun_start_scale: float = _key(0.001, "antun: r starts as this times U[0, 1]", minimum=0)
    antun_reference: str = _key(
        "prediction", "antun: what the reconstruction is driven away from, prediction | truth"
    )
    antun_region: bool = _key(
        False, "antun: keep r in rows 35-75 %, columns 35-70 % only, as in their figures"
    )

    def __post_init__(self):
        for field in dataclasses.fields(self):
            object.__setattr__(self, field.name, _checked(field, getattr(self, field.name)))
        _check_size(*(getattr(self, name) for name in _SIZES))
        for split in ("train", "test"):
            _check_count(
                split, getattr(self, f"{split}_patients"), getattr(self, f"{split}_slices")
            )

    def to_yaml(self):
        """The whole configuration as flat YAML, from which `load` makes an equal one."""
        # In one line each, however long.
        return yaml.safe_dump(
            dataclasses.asdict(self), sort_keys=False, allow_unicode=True, width=float("inf")
        )


_FIELDS = {field.name: field for field in dataclasses.fields(Config)}


def _checked(field, value):
    """The value in the type of its key, within its limits."""
    name, limits = field.name, field.metadata
    if field.type is list:
        return _checked_list(name, value, limits)
    if field.type in (int, float):
        return _number(name, field.type, value, limits)
    if field.type is str:
        value = _as_text(value)
    if not isinstance(value, field.type):
        kind = _NUMBERS.get(name, f"of type {field.type.__name__}")
        raise ValueError(f"{name} must be {kind}. {_received(name, value)}")
    if value not in CHOICES.get(name, (value,)):
        raise ValueError(
            f"{name} must be one of {', '.join(CHOICES[name])}. {_received(name, value)}"
        )
    if field.type is str:
        _check_text(name, value)
    return value


def _checked_list(name, value, limits):
    value = list(value) if isinstance(value, (list, tuple)) else [value]
    if not value:
        raise ValueError(f"{name} must hold at least one number. Received: {name}=[]")
    value = [_number(name, float, item, limits) for item in value]
    if not limits["whole"]:
        return value
    if any(item != int(item) for item in value):
        raise ValueError(f"{name} must be whole numbers. {_received(name, value)}")
    return [int(item) for item in value]


def _as_text(value):
    """Of a text key: a path, or in Python the number of the one slice that is meant, are texts
    too.
    """
    if value is None:
        return ""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value


def _check_text(name, value):
    # It goes into tables, into HDF5 and to the file system.
    if re.search(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]", value):
        raise ValueError(
            f"{name} must be one line of text that can be written as UTF-8, without control"
            f" characters. {_received(name, value)}"
        )
    if name in _NUMBERS and (value or name != "profile"):
        _, wrong = _ranges(value)
        if wrong:
            expected = _NUMBERS[name] if wrong == _NO_NUMBERS else wrong
            raise ValueError(f"{name} must be {expected}. {_received(name, value)}")


def _number(name, kind, value, limits):
    # NaN is no number of them, and infinity is not below the limit.
    if not isinstance(value, Real) or isinstance(value, bool) or not abs(value) < float("inf"):
        kinds = (
            "a whole number, such as 10"
            if kind is int
            else "a finite number, such as 0.05, 1e-3 or 10"
        )
        raise ValueError(f"{name} must be {kinds}. {_received(name, value)}")
    if kind is int and value != int(value):
        raise ValueError(f"{name} must be a whole number. {_received(name, value)}")
    if limits["minimum"] is not None and value < limits["minimum"]:
        raise ValueError(
            f"{name} must be a number >= {limits['minimum']}. {_received(name, value)}"
        )
    if limits["above"] is not None and value <= limits["above"]:
        raise ValueError(f"{name} must be a number > {limits['above']}. {_received(name, value)}")
    if limits["below"] is not None and value >= limits["below"]:
        raise ValueError(f"{name} must be a number < {limits['below']}. {_received(name, value)}")
    if limits["maximum"] is not None and value > limits["maximum"]:
        raise ValueError(
            f"{name} must be a number <= {limits['maximum']}. {_received(name, value)}"
        )
    limit = _LIMIT if kind is int else _LARGEST_SINGLE
    if abs(value) >= limit:
        raise ValueError(
            f"{name} must be a number < {limit}, as it is kept in 32 bits. {_received(name, value)}"
        )
    return kind(value)


def _check_size(num_stages, filters, kernel_size, num_centers):
    """A network that was trained for days must be one that can be read back."""
    weights = filters * (2 * kernel_size**2 + num_centers) + 1
    # In single precision, with an optimizer's three for each.
    size = num_stages * (4 * 4 * weights + 2**16) + 2**20
    if size > _LARGEST_NETWORK:
        raise ValueError(
            f"{', '.join(_SIZES)} must make a network of at most {_LARGEST_NETWORK} bytes together."
            f" Received: {num_stages}, {filters}, {kernel_size} and {num_centers}, which make about"
            f" {size} bytes"
        )


def _check_count(split, patients, slices):
    count = _count(_ranges(patients)[0]) * _count(_ranges(slices)[0])
    if count > _MOST:
        raise ValueError(
            f"{split}_patients and {split}_slices must name at most {_MOST} slices together. "
            f"{_received(f'{split}_patients', patients)}, {split}_slices={_cut(slices)}"
        )


def _received(name, value):
    return f"Received: {name}={_cut(value)}"


def _cut(value):
    told = repr(value)
    return told if len(told) <= _LONGEST_TOLD else f"{told[:_LONGEST_TOLD]}..."


def load(path=None, overrides=(), **settings):
    """Reads a YAML file (or only the defaults) and applies changes to it.

    Args:
        path: of the file.
        overrides: texts such as `"sigma=0.05"`, as the command line has them. What stands after the
            first `=` means the
            same as behind the colon of a YAML file, but nothing in it is YAML: no quotes, no
                comment.
        settings: keys with their values in Python, such as `sigma=0.05`. They win over both.

    Raises:
        ValueError: for an unknown key (the message names the nearest known one), a wrong value or a
            file that is not a flat mapping; the message starts with where it was found: the file's
            name, --set, or `config.load`.
    """
    found = {}
    if path is not None:
        if not isinstance(path, (str, os.PathLike)):
            raise ValueError(
                f"config.load: expected the path of a YAML file. {_received('path', path)}. "
                "Keys are given by their names: load(sigma=0.05)."
            )
        with _naming(path):
            found.update((key, (path, value)) for key, value in _read_file(path).items())
    with _naming("--set"):
        found.update((key, ("--set", value)) for key, value in _read_overrides(overrides))
    with _naming("config.load"):
        _check_keys(settings)
        found.update((key, ("config.load", value)) for key, value in settings.items())
    values = {}
    for key, (source, value) in found.items():
        with _naming(source):
            values[key] = _checked(_FIELDS[key], value)
    try:
        return Config(**values)
    except ValueError as error:
        # Each fits alone, and several do not fit together.
        named = re.findall(r"\w+", str(error))
        sources = dict.fromkeys(str(source) for key, (source, _) in found.items() if key in named)
        raise ValueError(f"{', '.join(sources)}: {error}") from error


def _read_overrides(overrides):
    """Pairs of keys and values."""
    if not isinstance(overrides, (list, tuple)) or not all(
        isinstance(text, str) for text in overrides
    ):
        raise ValueError(
            f"expected a list of texts such as ['sigma=0.05']. {_received('overrides', overrides)}"
        )
    for override in overrides:
        key, separator, text = override.partition("=")
        key = key.strip()
        if not separator or not key:
            raise ValueError(f"an override has the form key=value. Received: {_cut(override)}")
        _check_keys([key])
        yield key, _value_of(_FIELDS[key], text)


class _TextLoader(yaml.SafeLoader):
    """Reads every value as the text that is written, and nothing that would be lost of it or stand
    for something else.
    """

    yaml_implicit_resolvers = {}

    def compose_node(self, parent, index):
        event = self.peek_event()
        is_alias = isinstance(event, yaml.AliasEvent)
        has_tag = not is_alias and event.tag not in (None, "tag:yaml.org,2002:str")
        if event.anchor or has_tag:
            raise ValueError(
                f"line {event.start_mark.line + 1}: put a text that begins with &, * or ! in"
                " quotes."
            )
        return super().compose_node(parent, index)


def _read_file(path):
    """Keys and values of a YAML file."""
    with open(path, "rb") as file:
        content = file.read(_LARGEST_FILE + 1)
    if len(content) > _LARGEST_FILE:
        raise ValueError(
            f"expected a configuration of at most {_LARGEST_FILE} bytes. Received: a larger file"
        )
    try:
        text = content.decode("utf-8-sig")
        root = yaml.compose(text, _TextLoader)
    except UnicodeDecodeError as error:
        raise ValueError(
            f"expected a text file in UTF-8. Received: other bytes, at position {error.start}"
        ) from error
    except RecursionError as error:
        raise ValueError(
            "expected lines of 'key: value'. Received: one inside the other, hundreds of times"
        ) from error
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        problem = " ".join(filter(None, (error.context, error.problem)))
        raise ValueError(
            f"line {line} is no YAML: {problem}. Put texts with special characters in quotes:"
            " 'a: b'."
        ) from error
    except yaml.reader.ReaderError as error:
        raise ValueError(
            f"expected a text file. Received: a control character, at position {error.position}"
        ) from error
    if root is None:
        return {}
    if not isinstance(root, yaml.MappingNode):
        found = "a list" if isinstance(root, yaml.SequenceNode) else _cut(root.value)
        raise ValueError(f"expected lines of 'key: value'. Received: {found}")
    values = {}
    for name, node in root.value:
        key = _written(name)
        _check_keys([key])
        if key in values:
            raise ValueError(f"line {name.start_mark.line + 1}: given more than once: {key}")
        _check_comment(key, node, text)
        values[key] = _value_of(_FIELDS[key], _written(node))
    return values


def _written(node, inside=False):
    """What is written at a node: a text, a list of texts; of anything else enough to tell what it
    is.
    """
    if isinstance(node, yaml.ScalarNode):
        return node.value
    if inside:
        return "..."
    if isinstance(node, yaml.SequenceNode):
        return [_written(item, inside=True) for item in node.value]
    return {"...": "..."}


def _check_comment(key, node, text):
    """`data_path: knees #2/scan.h5` would be `knees`."""
    is_text = _FIELDS[key].type is str and key not in CHOICES
    if not is_text or not isinstance(node, yaml.ScalarNode) or node.style:
        return
    comment = re.compile(r"[ \t]+(#[^\s#]\S*)").match(text, node.end_mark.index)
    if comment:
        raise ValueError(
            f"line {node.end_mark.line + 1}: is {comment[1][:_LONGEST_TOLD]!r} part of {key} or a"
            " comment? Put the text in quotes, or a blank after the #."
        )


def _value_of(field, written):
    """What a text stands for, in the type of the key; what stands for nothing is left as it is, for
    `_checked` to refuse.
    """
    if field.type is list:
        if isinstance(written, str):
            # Brackets are a nuisance on the command line.
            written = re.sub(r"^\s*\[(.*)\]\s*$", r"\1", written).split(",")
        return [_number_of(item) for item in written] if isinstance(written, list) else written
    if not isinstance(written, str) or field.type is str:
        return written
    if field.type is bool:
        return _BOOLEANS.get(written.strip().lower(), written)
    return _number_of(written)


def _number_of(text):
    """Decimal, with or without an exponent: leading zeros change nothing, and other notations are
    no numbers here.
    """
    if re.fullmatch(r"\s*[-+]?[0-9]{1,18}\s*", text):
        return int(text)
    if re.fullmatch(r"\s*[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?\s*", text):
        value = float(text)
        # Too large a number is told as it was written.
        return value if abs(value) < float("inf") else text
    return text


@contextlib.contextmanager
def _naming(source):
    """Errors begin with what is wrong: a file or a flag."""
    try:
        yield
    except IsADirectoryError as error:
        raise ValueError(
            f"cannot read the configuration {source}: it is a folder. Name a YAML file; a run"
            " directory is given by --run-dir."
        ) from error
    except OSError as error:
        raise ValueError(f"cannot read the configuration {source}: {error.strerror}") from error
    except (ValueError, yaml.YAMLError) as error:
        raise ValueError(f"{source}: {error}") from error


def _check_keys(keys):
    for key in keys:
        if not isinstance(key, str) or key not in _FIELDS:
            nearest = difflib.get_close_matches(str(key)[:_LONGEST_TOLD], _FIELDS, n=1, cutoff=0.3)
            hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
            raise ValueError(f"unknown key {_cut(key)}.{hint}")


def describe():
    """One line a key: name, default and meaning; shown by `--help`."""
    rows = []
    for field in dataclasses.fields(Config):
        default = field.default if field.type is not list else list(field.default)
        rows.append(f"  {field.name} ({default!r}): {field.metadata['meaning']}")
    return "\n".join(rows)


_NO_NUMBERS = "numbers such as '1-10' or '1,3,7'"


def numbers(text):
    """The numbers of `'1-3,7'`: [1, 2, 3, 7].

    Raises:
        ValueError: for anything else, for the same number twice, and for more than a million of
            them.
    """
    ranges, wrong = _ranges(text)
    if wrong:
        raise ValueError(f"expected {wrong}. Received: {_cut(text)}")
    return [number for first, last in ranges for number in range(first, last + 1)]


def _ranges(text):
    """Pairs (first, last), and what else would have been expected; '' if nothing is wrong."""
    ranges = []
    for part in str(text).split(","):
        match = re.fullmatch(r"\s*([0-9]{1,18})\s*(?:-\s*([0-9]{1,18})\s*)?", part)
        if not match or int(match[2] or match[1]) < int(match[1]):
            return [], _NO_NUMBERS
        ranges.append((int(match[1]), int(match[2] or match[1])))
    # Counted before a list of them is made.
    if _count(ranges) > _MOST:
        return [], f"at most {_MOST} numbers"
    ordered = sorted(ranges)
    if any(later[0] <= earlier[1] for earlier, later in zip(ordered, ordered[1:])):
        return [], "different numbers"
    return ranges, ""


def _count(ranges):
    return sum(last - first + 1 for first, last in ranges)

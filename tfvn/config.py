"""The one schema of an experiment: flat, every key with its default, its meaning and its limits.

A YAML file or a `key=value` override can only set keys that exist here. A wrong key never becomes a default.
"""
import contextlib
import dataclasses
import difflib
import re

import yaml

_CHOICES = {
    "dataset": ("synthetic", "vlo", "measurement"),
    "mask": ("constant", "equispaced", "random", "file", "measured"),
    "padding_lines": ("measured", "unmeasured"),
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


def _key(default, meaning, minimum=None, above=None, maximum=None, below=None):
    limits = dict(minimum=minimum, above=above, maximum=maximum, below=below)
    return dataclasses.field(default=default, metadata=dict(meaning=meaning, **limits))


@dataclasses.dataclass(frozen=True)
class Config:
    """A resolved configuration. Build it with `load`; every instance is validated.

    Raises:
        ValueError: for a value of the wrong type or outside its limits.
    """

    # Data
    dataset: str = _key("synthetic", "synthetic | vlo (knee .mat folder) | measurement (one scan in one file)")
    data_path: str = _key("", "vlo: the root folder; measurement: the k-space file (.mat, .h5, .npy)")
    protocol: str = _key("coronal_pd_fs", "vlo: the protocol's folder below the root")
    train_patients: str = _key("1-10", "vlo: patients to train on, as in '1-10' or '1,3,7'")
    train_slices: str = _key("11-30", "vlo: slices of each training patient")
    test_patients: str = _key("11-20", "vlo: patients to attack and evaluate")
    test_slices: str = _key("22", "vlo: slices of each test patient")
    padding_lines: str = _key("measured", "vlo: never-measured padding lines count as measured zeros (original code) | unmeasured")
    sensitivity_path: str = _key("", "measurement: file of coil maps; empty: estimate them from the k-space centre")
    calibration_lines: int = _key(24, "measurement: centre lines used to estimate coil maps", minimum=4)
    coil_axis: int = _key(-1, "measurement: axis of the coils in the file; -1: the loader's rule (docs/howto/data.md)")
    transpose: bool = _key(False, "measurement: exchange height and width (undersampling is along the width)")
    slice_index: int = _key(0, "measurement: which slice of a multi-slice file", minimum=0)
    readout_oversampling: bool = _key(False, "the image is the central half of the readout (height)")
    cache_dir: str = _key("", "folder that keeps prepared slices; empty: read and prepare the raw data each time")
    height: int = _key(640, "synthetic: rows of the slice", minimum=16)
    width: int = _key(368, "synthetic: columns of the slice", minimum=16)
    num_coils: int = _key(15, "synthetic: receiver coils", minimum=1)
    receiver_noise: float = _key(0.002, "synthetic: standard deviation of k-space noise, relative to the largest image value", minimum=0)
    num_train: int = _key(200, "synthetic: number of training slices", minimum=1)
    num_test: int = _key(10, "synthetic: number of test slices", minimum=1)
    # Sampling
    mask: str = _key("constant", "constant (the paper's) | equispaced | random | file | measured (where k-space is not zero)")
    mask_fraction: float = _key(0.15, "constant: sampled fraction of the lines", above=0, maximum=1)
    acceleration: float = _key(4.0, "equispaced: distance of the lines outside the centre; random: width / sampled lines", minimum=1)
    center_fraction: float = _key(0.08, "equispaced, random: width of the fully sampled centre / width", minimum=0, maximum=1)
    mask_seed: int = _key(0, "random: seed of the mask", minimum=0)
    mask_path: str = _key("", "file: mask file (.mat, .h5, .npy); vlo: name below <protocol>/masks")
    # Network
    model: str = _key("", "a trained network to use as it is (.keras, .npz or .pt) instead of training one")
    num_stages: int = _key(10, "stages of the network", minimum=1)
    filters: int = _key(24, "filters of a stage", minimum=1)
    kernel_size: int = _key(11, "side of a filter", minimum=2)
    num_centers: int = _key(31, "radial basis functions of an activation", minimum=2)
    grid_limit: float = _key(1.0, "their centres lie on [-grid_limit, grid_limit]", above=0)
    bandwidth: float = _key(0.0, "their standard deviation; 0: the grid step (optox: the same; tensorflow-icg: 2 grid_limit / num_centers)", minimum=0)
    scale: float = _key(1.0, "factor before their sum (optox: 0.4)", above=0)
    initial_scale: float = _key(0.04, "slope of the initial weights over their centres", minimum=0)
    initial_data_weight: float = _key(1.0, "initial data-term weight", minimum=0)
    # Training
    initial_weights: str = _key("", "start from these weights: a run directory or a model file")
    optimizer: str = _key(
        "ipalm",
        "ipalm (the paper's) | adam (projected after each step) | with tensorflow-addons: radam-lookahead (the same) | "
        "conditional-gradient (Frank-Wolfe on the filters, adam on the rest)",
    )
    iterations: int = _key(1000, "training iterations, one batch each", minimum=0)
    batch_size: int = _key(10, "slices of a training batch", minimum=1)
    stagewise: bool = _key(False, "ipalm: one stage's block at a time, each with its own curvature bound, as the original can")
    momentum: float = _key(0.7, "ipalm: inertia", minimum=0, below=1)
    initial_lipschitz: float = _key(1000.0, "ipalm: first curvature bound of each block", above=0)
    learning_rate: float = _key(1e-3, "all but ipalm; of conditional-gradient's filters the share of a step, <= 1", above=0)
    learning_rate_schedule: str = _key("constant", "all but ipalm: constant | cosine (to 0 over all iterations)")
    checkpoint_every: int = _key(50, "iterations between checkpoints and validations", minimum=1)
    log_images_every: int = _key(1, "validations from one set of pictures in TensorBoard to the next; 0: none", minimum=0)
    profile: str = _key("", "iterations for TensorFlow's profiler, as in '11-15'; empty: none")
    time_budget: int = _key(0, "seconds until a training stops at its next checkpoint, to be continued; 0: none", minimum=0)
    progress: str = _key("tqdm", "bar of the training: tqdm | addons (tensorflow-addons': one between two checkpoints)")
    sigma: float = _key(0.0, "k-space noise of training and smoothing, a real component's standard deviation", minimum=0)
    noise: str = _key("gaussian", "distribution of that noise: gaussian (the paper's) | uniform | laplace")
    seed: int = _key(0, "seed of initial weights, data order, noise and attacks", minimum=0)
    # Search (train.py --tune)
    tune_parameters: str = _key("sigma,num_stages,filters", "of sigma, num_stages, filters, momentum, learning_rate")
    tune_sigma: list = _key((0.0, 0.1), "two numbers: from, to; other lists: these values (so all below)", minimum=0)
    tune_num_stages: list = _key((4, 10), "stages to try", minimum=1)
    tune_filters: list = _key((8, 24), "filters to try", minimum=1)
    tune_momentum: list = _key((0.0, 0.9), "ipalm: inertia to try", minimum=0, below=1)
    tune_learning_rate: list = _key((1e-4, 1e-2), "all but ipalm: learning rates to try, as many in each decade", above=0)
    tune_method: str = _key("hyperband", "hyperband (many short trials, the best go on) | bayesian (Gaussian process)")
    tune_trials: int = _key(20, "bayesian: trials", minimum=1)
    tune_iterations: int = _key(90, "training iterations of a whole trial", minimum=1)
    tune_first_iterations: int = _key(10, "hyperband: of its shortest trials; further rounds have 3 times as many", minimum=1)
    tune_validation: int = _key(10, "last training slices, held out to judge trials (vlo: take whole patients)", minimum=1)
    tune_radius: float = _key(2.5, "largest l2 norm of the attack that trials are judged under", minimum=0)
    tune_steps: int = _key(10, "steps of that attack", minimum=1)
    tune_num_samples: int = _key(3, "K of the smoothed prediction that is judged (sigma > 0)", minimum=1)
    # Smoothing
    num_samples: int = _key(9, "K, noisy draws of the smoothed prediction (sigma > 0)", minimum=1)
    chunk_size: int = _key(0, "draws processed at once; 0: one on a CPU, as many as memory holds on an accelerator", minimum=0)
    # Attack
    attack_method: str = _key("projected", "projected (the paper's) | antun (penalty instead of a ball, Antun et al. 2020)")
    attack_norm: str = _key("l2", "projected: norm of the ball, l2 | l1 | linf (of real and imaginary parts of r)")
    attack_radii: list = _key((1.5, 2.5, 3.5), "projected: largest norms of the perturbation r", minimum=0)
    attack_steps: int = _key(60, "projected: ascent steps", minimum=1)
    attack_step_size: float = _key(0.5, "projected: step size of the ascent", above=0)
    attack_momentum: float = _key(0.9, "momentum of both attacks", minimum=0, maximum=1)
    attack_restarts: int = _key(1, "projected: random starts; the strongest result is kept", minimum=1)
    attack_gradient: str = _key("full", "full | initial-image (through the first iterate only)")
    attack_noise: str = _key("fresh", "against smoothed models: fresh draws each step | fixed, the model's own draws")
    attack_num_samples: int = _key(0, "draws per attack step; 0: as many as num_samples", minimum=0)
    antun_steps: list = _key((25,), "antun: steps after which r is stored, a ladder of perturbations", minimum=1)
    antun_step_size: float = _key(0.005, "antun: step size", above=0)
    antun_penalty: float = _key(1.0, "antun: lambda of the penalty on ||r||^2 / 2", minimum=0)
    antun_start_scale: float = _key(0.001, "antun: r starts as this times U[0, 1]", minimum=0)
    antun_reference: str = _key("prediction", "antun: what the reconstruction is driven away from, prediction | truth")
    antun_region: bool = _key(False, "antun: keep r in rows 35-75 %, columns 35-70 % only, as in their figures")

    def __post_init__(self):
        for field in dataclasses.fields(self):
            object.__setattr__(self, field.name, _checked(field, getattr(self, field.name)))
        try:
            numbers(self.profile or "0")
        except ValueError as error:
            raise ValueError(f"profile must be iterations such as '11-15'. Received: profile={self.profile!r}") from error

    def to_yaml(self):
        """The whole configuration as flat YAML."""
        return yaml.safe_dump(dataclasses.asdict(self), sort_keys=False)


def _checked(field, value):
    name, limits = field.name, field.metadata
    if field.type is list:
        if isinstance(value, str):
            # From the command line, where brackets are a nuisance.
            value = [yaml.safe_load(item) for item in value.split(",")]
        value = list(value) if isinstance(value, (list, tuple)) else [value]
        if not value:
            raise ValueError(f"{name} must hold at least one number. Received: {name}=[]")
        return [_number(name, float, item, limits) for item in value]
    if field.type in (int, float):
        return _number(name, field.type, value, limits)
    value = "" if value is None and field.type is str else value
    # YAML reads 22 as a number where a list of slices such as '22' is meant.
    if field.type is str and isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, field.type):
        raise ValueError(f"{name} must be of type {field.type.__name__}. Received: {name}={value!r}")
    if value not in _CHOICES.get(name, (value,)):
        raise ValueError(f"{name} must be one of {', '.join(_CHOICES[name])}. Received: {name}={value!r}")
    return value


def _number(name, kind, value, limits):
    # PyYAML follows YAML 1.1, where 1e-3 (no dot) is a string.
    if isinstance(value, str) and re.fullmatch(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+", value):
        value = float(value)
    fits = isinstance(value, (int, float)) and not isinstance(value, bool) and value == value and abs(value) != float("inf")
    if not fits or (kind is int and value != int(value)):
        raise ValueError(f"{name} must be {'a whole' if kind is int else 'a finite'} number. Received: {name}={value!r}")
    if limits["minimum"] is not None and value < limits["minimum"]:
        raise ValueError(f"{name} must be a number >= {limits['minimum']}. Received: {name}={value}")
    if limits["above"] is not None and value <= limits["above"]:
        raise ValueError(f"{name} must be a number > {limits['above']}. Received: {name}={value}")
    if limits["below"] is not None and value >= limits["below"]:
        raise ValueError(f"{name} must be a number < {limits['below']}. Received: {name}={value}")
    if limits["maximum"] is not None and value > limits["maximum"]:
        raise ValueError(f"{name} must be a number <= {limits['maximum']}. Received: {name}={value}")
    return kind(value)


class _UniqueKeyLoader(yaml.SafeLoader):
    """YAML's safe loader, but a key given twice is an error: the plain one takes the last without a word."""

    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key, deep=deep) for key, _ in node.value]
        twice = sorted({str(key) for key in keys if keys.count(key) > 1})
        if twice:
            raise ValueError(f"given more than once: {', '.join(twice)}")
        return super().construct_mapping(node, deep=deep)


def load(path=None, overrides=()):
    """Reads a YAML file (or only the defaults) and applies overrides such as `"sigma=0.05"`.

    Raises:
        ValueError: for an unknown key (the message names the nearest known one), a wrong value or a file that is not a
            flat mapping; the message starts with the file's name, or with --set.
    """
    values, source = {}, str(path) if path else "defaults"
    with _naming(source):
        if path:
            with open(path, encoding="utf-8") as file:
                values = yaml.load(file, _UniqueKeyLoader) or {}
            if not isinstance(values, dict):
                raise ValueError(f"expected lines of 'key: value'. Received: {type(values).__name__}")
            _check_keys(values)
    with _naming("--set"):
        for override in overrides:
            key, separator, text = override.partition("=")
            if not separator:
                raise ValueError(f"an override has the form key=value. Received: {override!r}")
            _check_keys([key.strip()])
            values[key.strip()] = yaml.safe_load(text) if text else ""
    with _naming(source):
        return Config(**values)


@contextlib.contextmanager
def _naming(source):
    """Errors begin with what is wrong: a file or a flag."""
    try:
        yield
    except OSError as error:
        raise ValueError(f"cannot read the configuration {source}: {error.strerror}") from error
    except (ValueError, yaml.YAMLError) as error:
        raise ValueError(f"{source}: {error}") from error


def _check_keys(keys):
    known = [field.name for field in dataclasses.fields(Config)]
    for key in keys:
        if key not in known:
            nearest = difflib.get_close_matches(str(key), known, n=1, cutoff=0.3)
            hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
            raise ValueError(f"unknown key {key!r}.{hint}")


def describe():
    """One line a key: name, default and meaning; shown by `--help`."""
    rows = []
    for field in dataclasses.fields(Config):
        default = field.default if field.type is not list else list(field.default)
        rows.append(f"  {field.name} ({default!r}): {field.metadata['meaning']}")
    return "\n".join(rows)


def numbers(text):
    """The numbers of `'1-3,7'`: [1, 2, 3, 7].

    Raises:
        ValueError: for anything else.
    """
    result = []
    for part in str(text).split(","):
        match = re.fullmatch(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?", part)
        if not match or (match[2] and int(match[2]) < int(match[1])):
            raise ValueError(f"expected numbers such as '1-10' or '1,3,7'. Received: {text!r}")
        result.extend(range(int(match[1]), int(match[2] or match[1]) + 1))
    if len(set(result)) < len(result):
        raise ValueError(f"expected different numbers. Received: {text!r}")
    return result

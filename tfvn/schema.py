"""All keys of a configuration: each with its default, its meaning and its limits.

The schema is flat. `tfvn.config.load` makes a configuration of it.
"""

import dataclasses
import functools

import yaml

from tfvn import checks, choices, network_size, ranges
from tfvn.settings import check, received, setting

__all__ = ["SECTIONS", "Config"]

# What `--help` and the documentation show together, in this order.
SECTIONS = ("Data", "Sampling", "Network", "Training", "Search", "Smoothing", "Attack")

_data = functools.partial(setting, "Data")
_sampling = functools.partial(setting, "Sampling")
_network = functools.partial(setting, "Network")
_training = functools.partial(setting, "Training")
_search = functools.partial(setting, "Search")
_smoothing = functools.partial(setting, "Smoothing")
_attack = functools.partial(setting, "Attack")

_PATIENTS = "patients such as '1-10' or '1,3,7'"
_SLICES = "slices such as '11-30' or '22'"


@dataclasses.dataclass(frozen=True)
class Config:
    """A resolved configuration. `tfvn.config.load` makes one. Every instance is validated.

    Raises:
        ValueError: for a value of the wrong type or outside its limits.
    """

    dataset: str = _data(
        "synthetic",
        "synthetic | vlo (knee .mat folder) | measurement (one scan in one file)",
        choices=("synthetic", "vlo", "measurement"),
    )
    data_path: str = _data("", "vlo: the root folder; measurement: the k-space (.mat, .h5, .npy)")
    protocol: str = _data("coronal_pd_fs", "vlo: the protocol's folder below the root")
    train_patients: str = _data("1-10", "vlo: patients to train on", numbers=_PATIENTS)
    train_slices: str = _data("11-30", "vlo: slices of each of them", numbers=_SLICES)
    test_patients: str = _data("11-20", "vlo: patients to attack and evaluate", numbers=_PATIENTS)
    test_slices: str = _data("22", "vlo: slices of each of them", numbers=_SLICES)
    padding_lines: str = _data(
        "measured",
        "vlo: lines never measured are measured zeros (original code) | unmeasured",
        choices=choices.PADDING_LINES,
    )
    data_array: str = _data(
        "",
        "measurement: name of the k-space in its file; empty: kspace, rawdata, raw or the only one",
    )
    sensitivity_path: str = _data(
        "", "measurement: file of coil maps; empty: estimated from the k-space centre"
    )
    sensitivity_array: str = _data(
        "",
        "measurement: name of the maps in their file; empty: sensitivity_maps, sensitivities, maps"
        " or the only one",
    )
    calibration_lines: int = _data(
        0,
        "measurement: centre lines of that estimate; 0: as many as are measured, 24 at most",
        minimum=0,
    )
    maps_from: str = _data(
        "measured",
        "measurement: that estimate takes what the mask leaves | fully-sampled: all of the scan",
        choices=choices.MAPS_FROM,
    )
    coil_axis: int = _data(
        -1,
        "measurement: axis of the coils in the file; -1: the rule of docs/howto/data.md; -2: none",
        minimum=-2,
    )
    transpose: bool = _data(
        False, "measurement: exchange height and width (undersampling is along the width)"
    )
    slice_index: int = _data(0, "measurement: which slice of a file of several", minimum=0)
    readout_oversampling: bool = _data(
        False, "the image is the central half of the readout (height)"
    )
    cache_dir: str = _data("", "folder that keeps prepared slices; empty: prepared each time")
    height: int = _data(640, "synthetic: rows of the slice", minimum=16, maximum=2**14)
    width: int = _data(368, "synthetic: columns of the slice", minimum=16, maximum=2**14)
    num_coils: int = _data(15, "synthetic: receiver coils", minimum=1, maximum=1024)
    receiver_noise: float = _data(
        0.002,
        "synthetic: deviation of k-space noise, relative to the largest image value",
        minimum=0,
    )
    num_train: int = _data(200, "synthetic: training slices", minimum=1, maximum=ranges.MOST)
    num_test: int = _data(10, "synthetic: test slices", minimum=1, maximum=ranges.MOST)
    mask: str = _sampling(
        "constant",
        "constant (the paper's) | equispaced | random | file | measured (where k-space is not 0)",
        choices=("constant", "equispaced", "random", "file", "measured"),
    )
    mask_fraction: float = _sampling(
        0.15, "constant: sampled fraction of the lines", above=0, maximum=1
    )
    acceleration: float = _sampling(
        4.0,
        "equispaced: distance of lines outside the centre; random: width / sampled lines",
        minimum=1,
    )
    center_fraction: float = _sampling(
        0.08, "equispaced, random: width of the sampled centre / width", minimum=0, maximum=1
    )
    mask_seed: int = _sampling(0, "random: seed of the mask", minimum=0)
    mask_path: str = _sampling(
        "", "file: mask file (.mat, .h5, .npy); vlo: its name below <protocol>/masks"
    )
    mask_array: str = _sampling(
        "", "file: name of the mask in its file; empty: mask or the only array"
    )
    model: str = _network("", "a trained network to use as it is (.keras, .npz or .pt)")
    num_stages: int = _network(10, "stages of the network", minimum=1)
    filters: int = _network(24, "filters of a stage", minimum=1)
    kernel_size: int = _network(11, "side of a filter", minimum=2)
    num_centers: int = _network(31, "radial basis functions of an activation", minimum=2)
    grid_limit: float = _network(
        1.0, "their centres lie on [-grid_limit, grid_limit]", above=0, below=2**31
    )
    bandwidth: float = _network(
        0.0,
        "their deviation; 0: the grid step (optox: the same; tensorflow-icg: 2 grid_limit /"
        " num_centers)",
        minimum=0,
        below=2**31,
    )
    scale: float = _network(1.0, "factor before their sum (optox: 0.4)", above=0, below=2**31)
    initial_scale: float = _network(
        0.04, "slope of the initial weights over their centres", minimum=0, below=2**31
    )
    initial_data_weight: float = _network(1.0, "initial data-term weight", minimum=0, below=2**31)
    initial_weights: str = _training("", "start from these: a run directory or a model file")
    optimizer: str = _training(
        "ipalm",
        "ipalm (the paper's) | adam | with tensorflow-addons: radam-lookahead |"
        " conditional-gradient (Frank-Wolfe on the filters, adam on the rest)",
        choices=choices.OPTIMIZERS,
    )
    iterations: int = _training(1000, "training iterations, one batch each", minimum=0)
    batch_size: int = _training(10, "slices of a training batch", minimum=1, maximum=10**4)
    stagewise: bool = _training(
        False, "ipalm: one stage at a time, each with its own curvature bound (original code)"
    )
    momentum: float = _training(0.7, "ipalm: inertia", minimum=0, below=1)
    initial_lipschitz: float = _training(
        1000.0, "ipalm: first curvature bound of each block", above=0
    )
    learning_rate: float = _training(
        1e-3, "all but ipalm; of conditional-gradient's filters the share of a step, <= 1", above=0
    )
    learning_rate_schedule: str = _training(
        "constant",
        "all but ipalm: constant | cosine (to 0 over all iterations)",
        choices=("constant", "cosine"),
    )
    checkpoint_every: int = _training(
        50, "iterations between checkpoints and validations", minimum=1
    )
    log_images_every: int = _training(
        1, "validations between sets of pictures in TensorBoard; 0: none", minimum=0
    )
    profile: str = _training(
        "",
        "iterations for TensorFlow's profiler, as in '11-15'; empty: none",
        numbers="iterations such as '11-15'",
        optional=True,
    )
    time_budget: int = _training(
        0, "seconds until a training stops at its next checkpoint; 0: none", minimum=0
    )
    progress: str = _training(
        "tqdm",
        "bar: tqdm | addons (tensorflow-addons': one between two checkpoints)",
        choices=("tqdm", "addons"),
    )
    sigma: float = _training(
        0.0, "k-space noise of training and smoothing: deviation of a real component", minimum=0
    )
    noise: str = _training(
        "gaussian",
        "its distribution: gaussian (the paper's) | uniform | laplace",
        choices=choices.LAWS,
    )
    seed: int = _training(0, "seed of initial weights, data order, noise and attacks", minimum=0)
    tune_parameters: str = _search(
        "sigma,num_stages,filters", "of sigma, num_stages, filters, momentum, learning_rate"
    )
    tune_sigma: list = _search(
        (0.0, 0.1), "two numbers: from, to; other lists: these values (so all below)", minimum=0
    )
    tune_num_stages: list = _search((4, 10), "stages to try", minimum=1, whole=True)
    tune_filters: list = _search((8, 24), "filters to try", minimum=1, whole=True)
    tune_momentum: list = _search((0.0, 0.9), "ipalm: inertia to try", minimum=0, below=1)
    tune_learning_rate: list = _search(
        (1e-4, 1e-2), "all but ipalm: learning rates to try, as many in each decade", above=0
    )
    tune_method: str = _search(
        "hyperband",
        "hyperband (many short trials, the best go on) | bayesian (Gaussian process)",
        choices=("hyperband", "bayesian"),
    )
    tune_trials: int = _search(20, "bayesian: trials", minimum=1)
    tune_iterations: int = _search(90, "training iterations of a whole trial", minimum=1)
    tune_first_iterations: int = _search(
        10, "hyperband: of its shortest trials; each further round has 3 times as many", minimum=1
    )
    tune_validation: int = _search(
        10,
        "last training slices, held out to judge trials (vlo: take whole patients)",
        minimum=1,
        maximum=ranges.MOST,
    )
    tune_radius: float = _search(
        2.5, "largest l2 norm of the attack that trials are judged under", minimum=0
    )
    tune_steps: int = _search(10, "steps of that attack", minimum=1, maximum=ranges.MOST)
    tune_num_samples: int = _search(
        3, "K of the smoothed prediction that is judged (sigma > 0)", minimum=1
    )
    num_samples: int = _smoothing(
        9, "K, noisy draws of the smoothed prediction (sigma > 0)", minimum=1
    )
    chunk_size: int = _smoothing(
        0,
        "draws processed at once; 0: one on a CPU, as many as memory holds on an accelerator",
        minimum=0,
        maximum=ranges.MOST,
    )
    attack_method: str = _attack(
        "projected",
        "projected (the paper's) | antun (penalty instead of a ball, Antun et al. 2020)",
        choices=("projected", "antun"),
    )
    attack_norm: str = _attack(
        "l2",
        "projected: norm of the ball, l2 | l1 | linf (of real and imaginary parts of r)",
        choices=choices.NORMS,
    )
    attack_radii: list = _attack(
        (1.5, 2.5, 3.5), "projected: largest norms of the perturbation r", minimum=0
    )
    attack_steps: int = _attack(60, "projected: ascent steps", minimum=1, maximum=ranges.MOST)
    attack_step_size: float = _attack(0.5, "projected: step size of the ascent", above=0)
    attack_momentum: float = _attack(0.9, "momentum of both attacks", minimum=0, maximum=1)
    attack_restarts: int = _attack(
        1, "projected: random starts; the strongest is kept", minimum=1, maximum=ranges.MOST
    )
    attack_gradient: str = _attack(
        "full",
        "full | initial-image (through the first iterate only)",
        choices=choices.GRADIENTS,
    )
    attack_noise: str = _attack(
        "fresh",
        "against smoothed models: fresh draws each step | fixed, the model's own draws",
        choices=choices.NOISES,
    )
    attack_num_samples: int = _attack(
        0, "draws of an attack step; 0: as many as num_samples", minimum=0
    )
    antun_steps: list = _attack(
        (25,),
        "antun: steps after which r is stored, a ladder of perturbations",
        minimum=1,
        maximum=ranges.MOST,
        whole=True,
    )
    antun_step_size: float = _attack(0.005, "antun: step size", above=0)
    antun_penalty: float = _attack(1.0, "antun: lambda of the penalty on ||r||^2 / 2", minimum=0)
    antun_start_scale: float = _attack(0.001, "antun: r starts as this times U[0, 1]", minimum=0)
    antun_reference: str = _attack(
        "prediction",
        "antun: what the reconstruction is driven away from, prediction | truth",
        choices=choices.REFERENCES,
    )
    antun_region: bool = _attack(
        False, "antun: keep r in rows 35-75 %, columns 35-70 % only, as in their figures"
    )

    def __post_init__(self):
        for field in dataclasses.fields(self):
            object.__setattr__(self, field.name, check(field, getattr(self, field.name)))
        network_size.largest_file(
            self.num_stages, self.filters, self.kernel_size, self.num_centers, "float32"
        )
        for split in ("train", "test"):
            self._check_count(split)

    def _check_count(self, split):
        """Checks that patients times slices are not too many."""
        patients = getattr(self, f"{split}_patients")
        slices = getattr(self, f"{split}_slices")
        count = ranges.parse(patients).count() * ranges.parse(slices).count()
        if count > ranges.MOST:
            raise ValueError(
                f"{split}_patients and {split}_slices must name at most {ranges.MOST} slices"
                f" together. {received(f'{split}_patients', patients)},"
                f" {split}_slices={checks.shown(slices)}"
            )

    def to_yaml(self):
        """The whole configuration as flat YAML, from which `load` makes an equal one."""
        # In one line each, however long.
        return yaml.safe_dump(
            dataclasses.asdict(self), sort_keys=False, allow_unicode=True, width=float("inf")
        )

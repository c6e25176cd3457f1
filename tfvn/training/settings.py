"""What the sections `training` and `search` of a configuration hold.

The arguments are their keys, with their defaults; their texts are what `--help` shows.
"""

from tfvn import checks, ranges

__all__ = ["Search", "Training"]


class Training:
    """How long a network is trained, on batches of which size, and what is shown of it.

    Args:
        iterations: training iterations, one batch each.
        batch_size: slices of a training batch.
        initial_weights: start from these: a run directory or a model file.
        averaging: share of the weights' average that a step keeps, such as 0.99; 0: no average. A
            share a counts from the iteration (10 a - 1) / (1 - a) on: 80 of 0.9, 890 of 0.99.
        checkpoint_every: iterations between checkpoints and validations.
        log_images_every: validations between sets of pictures in TensorBoard; 0: none.
        profile: iterations for TensorFlow's profiler, as in '11-15'; empty: none.
        time_budget: seconds until a training stops at its next checkpoint; 0: none.
        progress: the bar, tqdm | addons (tensorflow-addons': one between two checkpoints).

    Raises:
        ValueError: for a value outside its limits.
    """

    def __init__(
        self,
        iterations=1000,
        batch_size=10,
        initial_weights="",
        averaging=0.0,
        checkpoint_every=50,
        log_images_every=1,
        profile="",
        time_budget=0,
        progress="tqdm",
    ):
        self.iterations = checks.whole("iterations", iterations, 0)
        self.batch_size = checks.whole("batch_size", batch_size, 1, most=10**4)
        self.initial_weights = initial_weights
        self.averaging = checks.number("averaging", averaging, 0, below=1)
        self.checkpoint_every = checks.whole("checkpoint_every", checkpoint_every, 1)
        self.log_images_every = checks.whole("log_images_every", log_images_every, 0)
        self.profile = profile
        if profile != "":
            ranges.check("profile", profile, "iterations such as '11-15'")
        self.time_budget = checks.whole("time_budget", time_budget, 0)
        self.progress = checks.choice("progress", progress, ("tqdm", "addons"))


class Search:
    """What a search of hyper-parameters tries, how, and what it judges by.

    Args:
        parameters: what is searched, different ones of sigma, num_stages, filters, momentum,
            learning_rate, mu, weight, recipe_radius, recipe_weight, averaging.
        sigma: two numbers: from, to; other lists: these values (so all below).
        num_stages: stages to try.
        filters: filters to try.
        momentum: inertia of ipalm to try.
        learning_rate: of all but ipalm, learning rates to try, as many in each decade.
        mu: of models that have one, such as cg-sense, to try, as many in each decade.
        weight: of models that have one, such as total-variation, to try, as many in each decade.
        recipe_radius: radii to try, of recipes that have one, such as adversarial.
        recipe_weight: weights to try, of recipes that have one, such as effect-penalty.
        averaging: shares of the weights' average to try; each counts late, see training.averaging.
        method: hyperband (many short trials, the best go on) | bayesian (Gaussian process).
        trials: bayesian: trials.
        iterations: training iterations of a whole trial.
        first_iterations: hyperband: of its shortest trials; each further round has 3 times as many.
        validation: last training slices, held out to judge trials (vlo: take whole patients).
        radius: largest l2 norm of the attack that trials are judged under.
        steps: steps of that attack.
        num_samples: K of the smoothed prediction that is judged (sigma > 0).

    Raises:
        ValueError: for a value outside its limits.
    """

    def __init__(
        self,
        parameters="sigma,num_stages,filters",
        sigma=(0.0, 0.1),
        num_stages=(4, 10),
        filters=(8, 24),
        momentum=(0.0, 0.9),
        learning_rate=(1e-4, 1e-2),
        mu=(1e-4, 1e-1),
        weight=(1e-4, 1e-2),
        recipe_radius=(0.5, 3.5),
        recipe_weight=(0.1, 10.0),
        averaging=(0.9, 0.99, 0.999),
        method="hyperband",
        trials=20,
        iterations=90,
        first_iterations=10,
        validation=10,
        radius=2.5,
        steps=10,
        num_samples=3,
    ):
        self.parameters = parameters
        self.sigma = _numbers("sigma", sigma, least=0)
        self.num_stages = _whole_numbers("num_stages", num_stages)
        self.filters = _whole_numbers("filters", filters)
        self.momentum = _numbers("momentum", momentum, least=0, below=1)
        self.learning_rate = _numbers("learning_rate", learning_rate, above=0)
        self.mu = _numbers("mu", mu, above=0)
        self.weight = _numbers("weight", weight, above=0)
        self.recipe_radius = _numbers("recipe_radius", recipe_radius, least=0)
        self.recipe_weight = _numbers("recipe_weight", recipe_weight, above=0)
        self.averaging = _numbers("averaging", averaging, least=0, below=1)
        self.method = checks.choice("method", method, ("hyperband", "bayesian"))
        self.trials = checks.whole("trials", trials, 1)
        self.iterations = checks.whole("iterations", iterations, 1)
        self.first_iterations = checks.whole("first_iterations", first_iterations, 1)
        self.validation = checks.whole("validation", validation, 1, most=ranges.MOST)
        self.radius = checks.number("radius", radius, 0)
        self.steps = checks.whole("steps", steps, 1, most=ranges.MOST)
        self.num_samples = checks.whole("num_samples", num_samples, 1)


def _numbers(name, values, **limits):
    return [checks.number(name, value, **limits) for value in _listed(name, values)]


def _whole_numbers(name, values):
    return [checks.whole(name, value, 1) for value in _listed(name, values)]


def _listed(name, values):
    """Values as a list. One alone is a list of one."""
    if not isinstance(values, (list, tuple)):
        return [values]
    if not values:
        raise ValueError(f"{name} must hold at least one number. Received: {name}=[]")
    return values

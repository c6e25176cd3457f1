"""What a search of hyper-parameters may try, and the oracle of Keras Tuner that proposes it."""

import math

import keras_tuner

__all__ = [
    "OBJECTIVE",
    "largest_of",
    "oracle_of",
    "share_of_iterations",
    "space_of",
    "typed",
    "with_values",
]

# What a trial is judged by.
OBJECTIVE = "attacked_rmse"
# What can be searched, and the type of its values.
_TYPES = {
    "sigma": float,
    "num_stages": int,
    "filters": int,
    "momentum": float,
    "learning_rate": float,
    "mu": float,
    "weight": float,
    "recipe_radius": float,
    "recipe_weight": float,
    "averaging": float,
}
# Their ranges have as many values in each decade.
_OF_ANY_SCALE = ("learning_rate", "mu", "weight", "recipe_weight")
# The keys of a configuration that they are values of. The noise, sigma, is one of two sections.
_KEYS = {
    "num_stages": "model.num_stages",
    "filters": "model.filters",
    "momentum": "training.optimizer.momentum",
    "learning_rate": "training.optimizer.learning_rate",
    "mu": "model.mu",
    "weight": "model.weight",
    "recipe_radius": "training.recipe.radius",
    "recipe_weight": "training.recipe.weight",
    "averaging": "training.averaging",
}
# Each round of Hyperband trains so many times longer, and so many times fewer trials.
_FACTOR = 3


def typed(name, value):
    """The value of a hyper-parameter, from a number or a text."""
    return _TYPES[name](value)


def space_of(config):
    """The configured search space, a `keras_tuner.HyperParameters`.

    Raises:
        ValueError: for keys that cannot be searched, and values that make no space.
    """
    space = keras_tuner.HyperParameters()
    for name in _names(config):
        values = _values(config, name)
        if len(values) != 2:
            space.Choice(name, values)
        elif _TYPES[name] is int:
            space.Int(name, *values)
        else:
            sampling = "log" if name in _OF_ANY_SCALE else "linear"
            space.Float(name, *values, sampling=sampling)
    return space


def _names(config):
    """The hyper-parameters that are searched."""
    if config.model.file:
        raise ValueError(
            "a search trains networks, so it cannot take a trained one. Received:"
            f" model.file={config.model.file!r}"
        )
    given = config.search.parameters
    names = [name.strip() for name in given.split(",")]
    allowed = _allowed(config)
    if not set(names) <= set(allowed) or len(set(names)) < len(names):
        raise ValueError(
            f"search.parameters must be different ones of {', '.join(allowed)}, as"
            f" {_reasons(config)}. Received: search.parameters={given!r}"
        )
    return names


def _allowed(config):
    """The hyper-parameters that the configuration has keys for, and that may differ."""
    allowed = []
    if _may_add_noise(config.training.recipe) and _may_add_noise(config.defence):
        allowed.append("sigma")
    configured = config.flat()
    for name, key in _KEYS.items():
        # Weights to start from belong to one network.
        is_fixed = config.training.initial_weights and key.startswith("model.")
        if key in configured and not is_fixed:
            allowed.append(name)
    return allowed


def _may_add_noise(part):
    """Whether a recipe or a defence adds noise, or does nothing that noise would replace."""
    return "sigma" in part.settings or not part.settings


def _reasons(config):
    """What decides which hyper-parameters can be searched, in words."""
    training = config.training
    return (
        f"model={config.model.name}, training.optimizer={training.optimizer.name},"
        f" training.recipe={training.recipe.name}, defence={config.defence.name} and"
        f" training.initial_weights={training.initial_weights!r}"
    )


def _values(config, name):
    """Two values are the ends of a range; any other number of them is a choice."""
    given = _given(config, name)
    values = [typed(name, value) for value in given]
    is_range = len(values) == 2
    if values != given or (is_range and values[0] >= values[1]):
        kind = "whole numbers" if _TYPES[name] is int else "numbers"
        raise ValueError(
            f"search.{name} must be {kind}, two of them in ascending order. Received:"
            f" search.{name}={given}"
        )
    return values


def _given(config, name):
    """The configured values of a hyper-parameter, in a list."""
    return list(config.search.get(name))


def largest_of(config, space):
    """The configuration with the largest value of each hyper-parameter."""
    values = {}
    for parameter in space.space:
        name = parameter.name
        values[name] = typed(name, max(_given(config, name)))
    return with_values(config, values)


def with_values(config, values):
    """The configuration with other values of hyper-parameters, which are given by their names.

    Noise of sigma is added in the training, and by the smoothing of the trained network. Without
    noise the training is clean and there is no defence.
    """
    changes = {}
    for name, value in values.items():
        if name == "sigma":
            changes.update(_noise(config, value))
        else:
            changes[_KEYS[name]] = value
    return config.changed(changes)


def _noise(config, sigma):
    """The sections of a configuration for noise of sigma: the recipe and the defence."""
    if sigma == 0:
        return {"training.recipe": "clean", "defence": "none"}
    recipe = config.training.recipe
    defence = config.defence
    # That of the one holds for the other too, where only one is configured.
    law = recipe.get("law") or defence.get("law") or "gaussian"
    return {
        "training.recipe": _with_noise(recipe, "noise", sigma, law),
        "defence": _with_noise(defence, "smoothed", sigma, law),
    }


def _with_noise(part, name, sigma, law):
    """A section with noise of sigma, and as it is configured otherwise.

    Args:
        part: the section.
        name: of the part that adds noise, if the configured one does not.
        sigma: the deviation.
        law: of the noise, if the configured part adds none.
    """
    if "sigma" in part.settings:
        return {"name": part.name, **part.settings, "sigma": sigma}
    return {"name": name, "sigma": sigma, "law": law}


def oracle_of(config, space):
    """The configured `keras_tuner.Oracle` of a space.

    Raises:
        ValueError: for a space that is too small, and without scikit-learn if that is needed.
    """
    shared = dict(
        objective=keras_tuner.Objective(OBJECTIVE, "min"),
        hyperparameters=space,
        # 0 stands for a random one.
        seed=config.seed + 1,
        # Some values diverge, or do not fit into the memory: no number of them ends the search.
        max_consecutive_failed_trials=10**9,
    )
    if config.search.method == "hyperband":
        _check_hyperband(config, space)
        return keras_tuner.oracles.HyperbandOracle(
            max_epochs=_epochs(config), factor=_FACTOR, **shared
        )
    try:
        return keras_tuner.oracles.BayesianOptimizationOracle(
            max_trials=config.search.trials, **shared
        )
    except ImportError as error:
        raise ValueError(
            "search.method=bayesian needs scikit-learn: pip install scikit-learn. Or use hyperband."
        ) from error


def _epochs(config):
    """Hyperband's unit of training is the shortest trial."""
    return round(config.search.iterations / config.search.first_iterations)


def share_of_iterations(config, given):
    """The iterations of a trial with the values `given`, which hold those of Hyperband too."""
    epochs = given.get("tuner/epochs")
    if epochs is None:
        return config.search.iterations
    return max(1, round(config.search.iterations * epochs / _epochs(config)))


def _check_hyperband(config, space):
    if config.search.first_iterations > config.search.iterations:
        raise ValueError(
            "hyperband's shortest trials cannot be longer than whole ones. Received:"
            f" search.first_iterations={config.search.first_iterations},"
            f" search.iterations={config.search.iterations}"
        )
    # Keras Tuner ends a Hyperband that finds no new values, whatever rounds are under way: they
    # must be plenty.
    float_range = keras_tuner.engine.hyperparameters.Float
    if any(isinstance(parameter, float_range) for parameter in space.space):
        return
    combinations = math.prod(len(tuple(parameter.values)) for parameter in space.space)
    needed = _trials_of_hyperband(_epochs(config))
    # Drawn at random, up to half of them are found in a few draws each.
    if combinations < 2 * needed:
        raise ValueError(
            f"hyperband begins {needed} trials here and needs twice as many combinations of values."
            f" Received: {combinations} of search.parameters={config.search.parameters!r}. Use"
            " search.method=bayesian, or a larger search.first_iterations."
        )


def _trials_of_hyperband(epochs):
    """The number of trials that a Hyperband of so many epochs begins."""
    rounds = math.log(epochs, _FACTOR)
    total = 0
    # A whole number of rounds may come out a little too small.
    for bracket in range(int(rounds + 1e-9) + 1):
        total += math.ceil(math.ceil(1 + rounds) / (bracket + 1) * _FACTOR**bracket)
    return total

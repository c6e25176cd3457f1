"""What a search of hyper-parameters may try, and the oracle of Keras Tuner that proposes it."""

import dataclasses
import math

import keras_tuner

__all__ = ["OBJECTIVE", "largest_of", "oracle_of", "share_of_iterations", "space_of", "typed"]

# What a trial is judged by.
OBJECTIVE = "attacked_rmse"
# What can be searched, and the type of its values.
_TYPES = {
    "sigma": float,
    "num_stages": int,
    "filters": int,
    "momentum": float,
    "learning_rate": float,
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
            sampling = "log" if name == "learning_rate" else "linear"
            space.Float(name, *values, sampling=sampling)
    return space


def _names(config):
    """The hyper-parameters that are searched."""
    names = [name.strip() for name in config.tune_parameters.split(",")]
    allowed = dict(_TYPES)
    del allowed["learning_rate" if config.optimizer == "ipalm" else "momentum"]
    if config.initial_weights:
        del allowed["num_stages"], allowed["filters"]
    if config.model:
        raise ValueError(
            "a search trains networks, so it cannot take a trained one. Received:"
            f" model={config.model!r}"
        )
    if not set(names) <= set(allowed) or len(set(names)) < len(names):
        raise ValueError(
            f"tune_parameters must be different ones of {', '.join(allowed)} (with"
            f" optimizer={config.optimizer!r}, initial_weights={config.initial_weights!r})."
            f" Received: tune_parameters={config.tune_parameters!r}"
        )
    return names


def _values(config, name):
    """Two values are the ends of a range; any other number of them is a choice."""
    given = getattr(config, f"tune_{name}")
    values = [typed(name, value) for value in given]
    is_range = len(values) == 2
    if values != given or (is_range and values[0] >= values[1]):
        kind = "whole numbers" if _TYPES[name] is int else "numbers"
        raise ValueError(
            f"tune_{name} must be {kind}, two of them in ascending order. Received:"
            f" tune_{name}={given}"
        )
    return values


def largest_of(config, space):
    """The configuration with the largest value of each hyper-parameter."""
    values = {}
    for parameter in space.space:
        name = parameter.name
        values[name] = typed(name, max(getattr(config, f"tune_{name}")))
    return dataclasses.replace(config, **values)


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
    if config.tune_method == "hyperband":
        _check_hyperband(config, space)
        return keras_tuner.oracles.HyperbandOracle(
            max_epochs=_epochs(config), factor=_FACTOR, **shared
        )
    try:
        return keras_tuner.oracles.BayesianOptimizationOracle(
            max_trials=config.tune_trials, **shared
        )
    except ImportError as error:
        raise ValueError(
            "tune_method=bayesian needs scikit-learn: pip install scikit-learn. Or use hyperband."
        ) from error


def _epochs(config):
    """Hyperband's unit of training is the shortest trial."""
    return round(config.tune_iterations / config.tune_first_iterations)


def share_of_iterations(config, given):
    """The iterations of a trial with the values `given`, which hold those of Hyperband too."""
    epochs = given.get("tuner/epochs")
    if epochs is None:
        return config.tune_iterations
    return max(1, round(config.tune_iterations * epochs / _epochs(config)))


def _check_hyperband(config, space):
    if config.tune_first_iterations > config.tune_iterations:
        raise ValueError(
            "hyperband's shortest trials cannot be longer than whole ones. Received:"
            f" tune_first_iterations={config.tune_first_iterations},"
            f" tune_iterations={config.tune_iterations}"
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
            f" Received: {combinations} of tune_parameters={config.tune_parameters!r}. Use"
            " tune_method=bayesian, or a larger tune_first_iterations."
        )


def _trials_of_hyperband(epochs):
    """The number of trials that a Hyperband of so many epochs begins."""
    rounds = math.log(epochs, _FACTOR)
    total = 0
    # A whole number of rounds may come out a little too small.
    for bracket in range(int(rounds + 1e-9) + 1):
        total += math.ceil(math.ceil(1 + rounds) / (bracket + 1) * _FACTOR**bracket)
    return total

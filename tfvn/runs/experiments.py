"""What `train.py` and `attack.py` do: train the network of a run directory, attack it slice by
slice.
"""

import contextlib
import functools
import os

import numpy as np
import tensorflow as tf
from tensorflow import keras

from tfvn import compat, data, progress, replicas
from tfvn.attacks import PenalisedGradientAscent, ProjectedGradientAscent, Start, keep_region
from tfvn.models.network_files import load_model
from tfvn.models.variational import VariationalNetwork
from tfvn.runs import attack_files, directory, locks, trained_on
from tfvn.runs.models import model_hash, models_of, network_of, save_network
from tfvn.runs.signature import signature_of
from tfvn.training import history, loop, tensorboard
from tfvn.training.checkpoints import Checkpoints
from tfvn.training.trainer import Trainer
from tfvn.workers import ALONE, Watch, each

__all__ = ["attack", "attack_settings", "build_network", "build_trainer", "train"]


# What a network's weights mean depends on.
_ARCHITECTURE = (
    "num_stages",
    "filters",
    "kernel_size",
    "num_centers",
    "grid_limit",
    "bandwidth",
    "scale",
)


def build_network(config):
    """A new network as configured; with the weights of `config.initial_weights` where given.

    Raises:
        ValueError: if those weights belong to a network of another shape.
    """
    network = VariationalNetwork(
        num_stages=config.num_stages,
        filters=config.filters,
        kernel_size=config.kernel_size,
        num_centers=config.num_centers,
        grid_limit=config.grid_limit,
        bandwidth=config.bandwidth or None,
        scale=config.scale,
        initial_scale=config.initial_scale,
        initial_data_weight=config.initial_data_weight,
        readout_oversampling=config.readout_oversampling,
        seed=config.seed,
    )
    if config.initial_weights:
        given = load_model(config.initial_weights)
        theirs, ours = given.get_config(), network.get_config()
        different = {
            key: (theirs[key], ours[key]) for key in _ARCHITECTURE if theirs[key] != ours[key]
        }
        if different:
            rows = ", ".join(
                f"{key}={there!r} (configured: {here!r})"
                for key, (there, here) in different.items()
            )
            raise ValueError(
                f"initial_weights={config.initial_weights} belong to another network: {rows}."
                " Configure the same."
            )
        network.set_weights(given.get_weights())
    return network


def build_trainer(config, strategy=None):
    """The `Trainer` of a new network, as configured.

    Raises:
        ValueError: as `build_network` and `Trainer`.
    """
    rate = config.learning_rate
    if config.learning_rate_schedule == "cosine":
        rate = keras.optimizers.schedules.CosineDecay(rate, max(1, config.iterations))
    with replicas.scope(strategy):
        network = build_network(config)
    return Trainer(
        network,
        config.optimizer,
        sigma=config.sigma,
        momentum=config.momentum,
        initial_lipschitz=config.initial_lipschitz,
        learning_rate=rate,
        seed=config.seed,
        stagewise=config.stagewise,
        noise=config.noise,
        strategy=strategy,
    )


def _addons_callbacks(config):
    """The Keras callbacks of tensorflow-addons that are asked for."""
    found = []
    if config.time_budget:
        callbacks = compat.addons(
            "time_budget", "time_budget=0 and Ctrl-C: a training called again continues"
        ).callbacks
        found.append(callbacks.TimeStopping(config.time_budget))
    if config.progress == "addons":
        found.append(compat.addons("progress=addons", "progress=tqdm").callbacks.TQDMProgressBar())
    return found


def train(run_dir, config, checked=False, workers=ALONE):
    """Trains to `config.iterations` and writes `model.keras`; continues where an interrupted
    training stopped.

    Data from files are read once before the first iteration, unless they are `checked` already. A
    training that comes to the end of `config.time_budget` stops at its next checkpoint and writes
    `unfinished.keras` instead: the network as it is, which no later step takes for the one that was
    configured. Of several `workers`, which need one run directory, all train and the first writes.

    Raises:
        ValueError: if it cannot be trained as configured, or another process trains it.
    """
    if os.path.exists(os.path.join(run_dir, "model.keras")):
        # A damaged one is no end of a training.
        network_of(run_dir, config)
        print(f"{run_dir} is already trained: {os.path.join(run_dir, 'model.keras')}")
        return
    # What is missing for them is told before anything is done.
    _addons_callbacks(config)
    if config.time_budget and workers.count > 1:
        raise ValueError(
            "several processes would stop at different times. Set time_budget=0, and stop them all"
            " by hand."
        )
    directory.make_folder(run_dir)
    # Two trainings would write into each other's checkpoints, curves and signs.
    only = locks.alone(run_dir, "trains it", workers.index or None)
    with only, Watch(os.path.join(run_dir, "workers"), workers, fatal=True) as watch:
        strategy = None if config.model else workers.strategy()
        if (
            not checked
            and config.dataset != "synthetic"
            and not os.path.exists(os.path.join(run_dir, "checkpoints"))
        ):
            # Hours of training must not end at a file that could have been looked at before.
            data.check(config, ("test",) if config.model else ("train", "test"))
        if config.model:
            network_of(run_dir, config)
            trained_on.warn_of_data(config.model, config)
            trained_on.write(run_dir, config)
            print(f"nothing to train: the network is {config.model}. {_next_is_attack(run_dir)}")
            return
        try:
            _train(run_dir, config, strategy, workers)
        except (
            tf.errors.UnavailableError,
            tf.errors.AbortedError,
            tf.errors.CancelledError,
        ) as error:
            if workers.count == 1:
                raise
            raise ValueError(
                "another worker has stopped. Start the same command in all again: it continues"
                " after the last checkpoint."
            ) from error
        if workers.index:
            watch.wait(lambda: not os.path.exists(os.path.join(run_dir, "model.keras")))


def _train(run_dir, config, strategy, workers):
    curve = os.path.join(run_dir, "history.csv")
    rows = history.read_history(curve)
    trainer = build_trainer(config, strategy)
    checkpoints = Checkpoints(trainer.checkpoint(), os.path.join(run_dir, "checkpoints"))
    if checkpoints.restore():
        print(f"continuing {run_dir} at iteration {int(trainer.steps_done)}")
    elif rows:
        print(
            f"{checkpoints.folder} holds no checkpoint: the training of {curve} begins again at"
            " iteration 0"
        )
    done = int(trainer.steps_done)
    if not replicas.agree(strategy, done):
        raise ValueError(
            f"the workers do not continue at one iteration: {run_dir} must be one folder that all"
            " of them see."
        )
    # Of several processes the first one writes.
    quiet = workers.index > 0
    if not quiet and done < config.iterations:
        # At the end the data may be gone, and the network must be saved all the same.
        trained_on.write(run_dir, config)
    try:
        _iterate(run_dir, config, trainer, checkpoints, quiet)
    except FloatingPointError as error:
        raise ValueError(
            f"{run_dir}: the training {error}: its loss or a weight is not finite. Lower the"
            " learning rate, and check that the references are finite. The last good checkpoint is"
            " kept."
        ) from error
    done = int(trainer.steps_done)
    if quiet:
        return
    unfinished = os.path.join(run_dir, "unfinished.keras")
    if done < config.iterations:
        save_network(trainer.network, run_dir, "unfinished.keras")
        there = directory.attack_elsewhere(run_dir, unfinished, f"{run_dir}-unfinished")
        print(
            f"stopped by the time budget at iteration {done} of {config.iterations}. The same"
            " command continues. To attack or evaluate the network as it is:"
            f" {directory.command(*there)}"
        )
        return
    save_network(trainer.network, run_dir)
    if os.path.exists(unfinished):
        os.remove(unfinished)
    for name in ("history.csv", "logs", "checkpoints"):
        if os.path.exists(os.path.join(run_dir, name)):
            print(f"wrote {os.path.join(run_dir, name)}")
    reached = f"trained {done} iterations"
    for last in history.read_history(curve)[-1:]:
        scores = history.validation_scores(last)
        told = (f"{label} {scores[key]:.4g}" for key, label in _SCORES.items() if key in scores)
        reached += f"; validation: {', '.join(told)}"
    print(f"{reached}. {_next_is_attack(run_dir)}")


def _iterate(run_dir, config, trainer, checkpoints, quiet):
    """Trains to `config.iterations`, and logs it unless it is to be quiet.

    Raises:
        FloatingPointError: if the training diverges.
    """
    done = int(trainer.steps_done)
    with contextlib.ExitStack() as stack:
        bar = progress.bar(
            total=config.iterations,
            initial=done,
            desc=f"train {os.path.basename(run_dir)}",
            unit="it",
            disable=quiet or config.progress == "addons",
        )
        callbacks = [loop.ProgressBar(stack.enter_context(bar))]
        settings = {}
        if not quiet:
            log = stack.enter_context(tensorboard.TrainingSummaries(run_dir, config, done))
            callbacks = [log, *callbacks, *_addons_callbacks(config)]
            curve = os.path.join(run_dir, "history.csv")
            settings["record"] = functools.partial(history.add_row, curve)
            settings["checkpoints"] = checkpoints
        loop.train_to(
            config.iterations,
            trainer,
            batches=lambda done: data.load(config, "train", start=done),
            every=config.checkpoint_every,
            validation=data.load(config, "test"),
            callbacks=callbacks,
            **settings,
        )


def _next_is_attack(run_dir):
    return f"Next: {directory.command('python', 'attack.py', '--run-dir', directory.as_argument(run_dir))}"


_SCORES = {"rmse": "RMSE", "nrmse": "NRMSE", "ssim": "SSIM"}


def attack(run_dir, config, workers=ALONE):
    """Attacks every test slice at every radius (or rung of the ladder); finished slices are kept,
    so a rerun continues.

    Several `workers`, which need one run directory, share the slices, and the devices of each share
    its own.

    Raises:
        ValueError: if the run is not trained, is being trained, or holds other attacks; for data
            that cannot be used; if another process attacks as the same worker of several.
    """
    only = contextlib.nullcontext()
    if workers.count > 1:
        only = locks.alone(run_dir, f"attacks it as worker {workers.index}", workers.index)
    with locks.together(run_dir, config, "attacks it"), only:
        _attack(run_dir, config, workers)


def _attack(run_dir, config, workers):
    source = data.source(config, "test")
    for index in range(len(source)):
        directory.check_name(source.name(index), f"slice {index}")
    devices, models = models_of(run_dir, config, workers, len(source), config.attack_num_samples)
    if config.model and not workers.index:
        trained_on.warn_of_data(config.model, config)
        trained_on.write(run_dir, config)
    digest = model_hash(models[0][0])
    kind, sizes = _sizes(config)
    _check_earlier(run_dir, config, kind)
    own = workers.own(len(source))
    paths = [
        attack_files.attack_path(run_dir, size, index, kind)
        for size in sizes
        for index in range(len(source))
    ]
    with Watch(os.path.join(run_dir, "workers"), workers) as watch:
        with progress.bar(
            total=len(own) * len(sizes), desc=f"attack {os.path.basename(run_dir)}", unit="slice"
        ) as bar:
            for size, earlier in zip(sizes, [None, *sizes]):
                work = functools.partial(
                    _attack_slice, run_dir, config, source, models, digest, kind, size, earlier
                )
                slices = data.iterate(
                    data.load(config, "test", start=workers.index, step=workers.count)
                )
                folder = os.path.basename(attack_files.attack_dir(run_dir, size, kind))
                for index, history, there in each(devices, work, zip(own, slices)):
                    tensorboard.write_attack(
                        run_dir, folder, index, history, _first_step(kind, earlier), keep=there
                    )
                    bar.update()
        watch.wait(lambda: not all(os.path.exists(path) for path in paths))
    for size, earlier in zip(sizes, [None, *sizes]):
        folder = attack_files.attack_dir(run_dir, size, kind)
        if workers.index == 0:
            objective = _objective(kind)
            own = [path for path in paths if os.path.dirname(path) == folder]
            found = [
                attack_files.read_attack(path, attack=(kind, size), needed=("history", objective))
                for path in own
            ]
            histories = [attack["history"] for attack in found]
            tensorboard.write_mean_attack(
                run_dir, os.path.basename(folder), histories, _first_step(kind, earlier)
            )
            print(f"{_reached(config, kind, size, found)}; wrote {folder}")
    if workers.index == 0:
        print(f"Next: {directory.command('python', 'evaluate.py', directory.as_argument(run_dir))}")


def _objective(kind):
    """The name of E(r) in an attack's file."""
    return "objective_of_iterate" if kind == "antun" else "objective"


def _reached(config, kind, size, found):
    """What the attacks of one size came to, in words."""
    norm = np.mean([np.linalg.norm(attack["perturbation"]) for attack in found])
    told = f"mean ||r||_2 {norm:.4g}"
    # E = effect^2 / 2, but where it is measured from the truth, or of another r than the one that
    # is kept.
    if kind != "antun" or (config.antun_reference == "prediction" and not config.antun_region):
        effects = [np.sqrt(2 * float(np.squeeze(attack[_objective(kind)]))) for attack in found]
        told = f"mean effect {np.mean(effects):.4g}, {told}"
    name = f"antun, {size} steps" if kind == "antun" else f"{kind} radius {size:g}"
    return f"{name}: {told} ({len(found)} {'slice' if len(found) == 1 else 'slices'})"


def _first_step(kind, earlier):
    """Of an attack that goes on from the size `earlier`, if there is one: steps of a ladder count
    on.
    """
    return (earlier or 0) if kind == "antun" else 0


def _attack_slice(run_dir, config, source, models, digest, kind, size, earlier, device, item):
    """Writes the attack on one slice, (index, (inputs, reference)), unless it is there. Returns the
    slice's index, its history, and whether it was there."""
    index, (inputs, reference) = item
    network, model = models[device]
    path, scale = attack_files.attack_path(run_dir, size, index, kind), float(inputs["scale"][0])
    signature = signature_of(inputs)
    settings = attack_settings(config, kind, size)
    if os.path.exists(path):
        there = attack_files.read_attack(
            path, settings, digest, scale, signature, (kind, size), ("history",)
        )
        return index, there["history"], True
    if kind == "antun" and config.antun_reference == "truth" and not np.isfinite(reference).all():
        raise ValueError(
            f"{source.name(index)} has no ground truth. Set antun_reference=prediction."
        )
    shared = dict(
        momentum=config.attack_momentum,
        gradient=config.attack_gradient,
        noise=config.attack_noise,
        seed=config.seed,
    )
    if kind == "antun":
        begun = None
        if earlier:
            before = attack_files.attack_path(run_dir, earlier, index, kind)
            begun = attack_files.read_attack(
                before, None, digest, scale, signature, (kind, earlier), ("iterate", "velocity")
            )
        found, arrays = _penalised(
            config, shared, model, inputs, reference, earlier or 0, size, begun
        )
    else:
        found, arrays = _projected(config, shared, size, model, inputs)
    measured = network.sense.forward(found.perturbation, inputs["sensitivity_maps"], inputs["mask"])
    if not np.isfinite(arrays["perturbation"]).all():
        raise ValueError(
            f"the attack on {source.name(index)} has diverged (NaN). Lower its step size, and check"
            " the data."
        )
    arrays["history"] = found.history[..., 0].numpy()
    attributes = {
        "name": source.name(index),
        "scale": scale,
        "signature": signature,
        "kind": kind,
        "radius" if kind != "antun" else "steps": size,
        "norm": float(np.linalg.norm(arrays["perturbation"])),
        "kspace_norm": float(tf.norm(tf.abs(measured))),
        "seed": config.seed,
        "settings": settings,
        "model_hash": digest,
    }
    attack_files.write_attack(path, arrays, attributes)
    return index, arrays["history"], False


def _sizes(config):
    """Kind of the attack, and its radii or rungs."""
    if config.attack_method == "projected":
        return config.attack_norm, config.attack_radii
    steps = sorted({int(n) for n in config.antun_steps})
    if steps != sorted(config.antun_steps):
        raise ValueError(
            "antun_steps must be different whole numbers. Received:"
            f" antun_steps={config.antun_steps}"
        )
    return "antun", steps


def _projected(config, shared, radius, model, inputs):
    ascent = ProjectedGradientAscent(
        steps=config.attack_steps,
        step_size=config.attack_step_size,
        restarts=config.attack_restarts,
        norm=config.attack_norm,
        **shared,
    )
    found = ascent.run(model, inputs, radius, index=inputs["sample_index"])
    return found, {
        "perturbation": found.perturbation[0].numpy(),
        "objective": found.objective[0].numpy(),
    }


def _penalised(config, shared, model, inputs, reference, done, steps, begun):
    """The next rung of the ladder, from `done` to `steps`; `begun` is the file of the one
    before.
    """
    ascent = PenalisedGradientAscent(
        penalty=config.antun_penalty,
        step_size=config.antun_step_size,
        reference=config.antun_reference,
        start_scale=config.antun_start_scale,
        **shared,
    )
    start = Start(begun["iterate"][None], begun["velocity"][None], done) if begun else None
    found = ascent.run(model, inputs, steps, reference, start, inputs["sample_index"])
    # The window is for the eye: the ascent goes on from all of r.
    arrays = {"iterate": found.perturbation[0].numpy(), "velocity": found.velocity[0].numpy()}
    arrays["objective_of_iterate"] = found.objective[0].numpy()
    if config.antun_region:
        found = found._replace(perturbation=keep_region(found.perturbation))
    return found, {**arrays, "perturbation": found.perturbation[0].numpy()}


def _check_earlier(run_dir, config, kind):
    """Attacks of one kind in one run must be of one setting: no table could hold them together."""
    for size in (size for other, size in attack_files.attacks_of(run_dir) if other == kind):
        path = attack_files.attack_path(run_dir, size, 0, kind)
        if os.path.exists(path):
            attack_files.read_attack(path, attack_settings(config, kind, size), attack=(kind, size))


# Of the projected attack alone; norm and radius are in the folder's name.
_PROJECTED_KEYS = ("attack_steps", "attack_step_size", "attack_restarts")


def attack_settings(config, kind, size):
    """What identifies an attack, stored in its file."""
    shared = ("attack_momentum", "attack_gradient", "attack_noise")
    own = _PROJECTED_KEYS
    if kind == "antun":
        own = [key for key in vars(config) if key.startswith("antun_") and key != "antun_steps"]
    settings = {key: vars(config)[key] for key in (*shared, *own)}
    settings.update(
        {"steps" if kind == "antun" else "radius": size}, seed=config.seed, sigma=config.sigma
    )
    if config.sigma:
        settings["num_samples"] = config.attack_num_samples or config.num_samples
    if config.noise != "gaussian":
        settings["noise"] = config.noise
    return settings

"""The paper in full: its five networks on the knee data, beside the printed numbers.

    python -m tfvn.paper /data/knee    the paper's setting: days on a CPU
    python -m tfvn.paper --rehearse    the same protocol, shortened, on synthetic knees

The networks are trained, attacked and tabulated. Run again, it continues where it stopped. Results
are in runs/paper or runs/rehearsal; --run-dir names another folder.

The synthetic knees have the layout of the real ones. A rehearsal changes the configuration by
overrides alone: few patients, few iterations and steps. Its numbers mean nothing. It shows that the
protocol ends, and what its steps cost.

--set changes all five configurations. Keys of the noise, such as defence.num_samples, change those
that have noise: not that of the original network.
"""

import functools
import os

__all__ = ["main", "paper"]

from tfvn import cli, data, files
from tfvn import config as configs
from tfvn.paper import comparison, protocol

_CONFIGS = os.path.join(protocol.CONFIGS, "knee")
_REHEARSAL = (
    "data.train_patients=1-2",
    "data.train_slices=11-15",
    "data.test_patients=11",
    "training.iterations=2",
    "training.checkpoint_every=1",
    "attacks.ascent.steps=3",
    "defence.num_samples=3",
)
# Small enough for minutes; --size 640 368 15 is the real one.
_SIZE = (96, 72, 8)
_RECEIVER_NOISE = 0.002
# The sections of the noise, and what they name where there is none: nothing that has keys.
_WITHOUT_NOISE = {"defence": "none", "training.recipe": "clean"}
# Of the MATLAB files: older and newer, patient by patient in turn.
_VERSION = "mixed"


@cli.command
def main(argv=None):
    """Reads a command line and runs the protocol. Returns the exit code."""
    parser = cli.Parser(description=__doc__)
    parser.add_argument("data", metavar="DATA", nargs="?", help="root of the knee data")
    parser.add_argument(
        "--run-dir",
        metavar="DIR",
        help="where all results go (default: runs/paper, runs/rehearsal)",
    )
    parser.add_argument(
        "--rehearse",
        action="store_true",
        help="write synthetic knees below the run directory and use them, shortened",
    )
    parser.add_argument(
        "--size",
        metavar="N",
        type=int,
        nargs=3,
        default=_SIZE,
        help="of a rehearsal: height, width, coils (default: 96 72 8)",
    )
    cli.add_set(parser, "override keys of all five configs")
    arguments = parser.parse_args(argv)
    if arguments.rehearse == bool(arguments.data):
        parser.error("give either DATA, the root of the knee data, or --rehearse")
    name = "rehearsal" if arguments.rehearse else "paper"
    parent = arguments.run_dir or os.path.join("runs", name)
    return cli.guarded(lambda: paper(parent, arguments.data, arguments.set, arguments.size))


def paper(parent, data_path=None, overrides=(), size=_SIZE):
    """Runs the protocol below the folder `parent`.

    Args:
        parent: the folder.
        data_path: root of the knee data; None: a rehearsal on synthetic ones.
        overrides: changes of all five configurations, such as `"training.iterations=5"`. Keys of
            the noise change those that have noise.
        size: of a rehearsal: (height, width, coils).
    """
    first = protocol.MODELS[0]
    if data_path is None:
        overrides = [*_REHEARSAL, *overrides]
    # What only the last of them has keys for must not be told after days.
    for name in protocol.MODELS:
        _load(name, overrides).check_models()
    if data_path is None:
        data_path = os.path.join(parent, "data")
        config = _load(first, overrides)
        protocol.write_knees(data_path, config, size, _RECEIVER_NOISE, _VERSION)
    overrides = [f"data.path={data_path}", *overrides]
    print(f"read {data.check(_load(first, overrides))} slices: all can be used")
    output = os.path.join(parent, "results")
    files.check_replaceable(output, ["comparison.md"])
    watch = protocol.Stopwatch(os.path.join(parent, "times.csv"))
    run_dirs = []
    for name in protocol.MODELS:
        run_dir = os.path.join(parent, name)
        config = _train(name, run_dir, overrides, watch)
        _attack(name, run_dir, config, watch)
        run_dirs.append(run_dir)
    protocol.evaluate(run_dirs, output)
    comparison.compare(
        os.path.join(output, "table1.csv"),
        os.path.join(_CONFIGS, "printed.csv"),
        os.path.join(output, "comparison.md"),
    )


def _train(name, run_dir, overrides, watch):
    """Trains one network. A training that goes on is not timed. Returns the configuration."""
    own = _own(name, overrides)
    train = functools.partial(protocol.train, _path(name), run_dir, own)
    if os.path.exists(run_dir):
        return train()
    iterations = _load(name, overrides).training.iterations
    return watch.measure(f"training of {name}, iterations", iterations, train)


def _attack(name, run_dir, config, watch):
    """Attacks one network. An attack that goes on is not timed."""
    attack = functools.partial(protocol.attack, run_dir, config)
    if os.path.exists(os.path.join(run_dir, "attacks")):
        attack()
        return
    steps = sum(part.make(seed=config.seed).num_gradients for part in config.attacks)
    slices = len(data.source(config, "test"))
    watch.measure(f"attack on {name}, steps", steps * slices, attack)


def _load(name, overrides):
    """The configuration of a network, with changes of all five."""
    return configs.load(_path(name), _own(name, overrides))


def _own(name, overrides):
    """The changes of all five configurations that one of them has keys for."""
    said = configs.load(_path(name)).flat()
    for text in overrides:
        key, _, value = text.partition("=")
        said[key.strip()] = value.strip()
    missing = []
    for place, nothing in _WITHOUT_NOISE.items():
        if said.get(place, said[f"{place}.name"]) == nothing:
            missing.append(f"{place}.")
    own = []
    for text in overrides:
        key = text.partition("=")[0].strip()
        if key.endswith(".name") or not key.startswith(tuple(missing)):
            own.append(text)
    return own


def _path(name):
    return os.path.join(_CONFIGS, f"{name}.yaml")


if __name__ == "__main__":
    cli.exit_with(main)

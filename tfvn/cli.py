"""The command line shared by the scripts."""
import argparse
import os
import sys
import warnings

import tensorflow as tf

from tfvn import compat, config, data, device, distribution, runs


def parser(description):
    """An argument parser that shows `description` as written and every configuration key below the flags."""
    keys = f"configuration keys, their defaults and meaning:\n{config.describe()}"
    return argparse.ArgumentParser(description=description, epilog=keys, formatter_class=argparse.RawDescriptionHelpFormatter)


def run(description, work, argv=None, splits=("train", "test"), tune=None):
    """A script that does `work(run_dir, config, workers=)` on one run directory, or checks its data. Returns the exit code.

    With `tune`, a function `tune(run_dir, config)`, the script has a flag --tune to do that instead.
    """
    flags = parser(description)
    flags.add_argument("--config", metavar="FILE", help="YAML file; needed to start a new run directory")
    flags.add_argument("--run-dir", metavar="DIR", help="where all results go (default: runs/<name of the config file>)")
    flags.add_argument("--set", metavar="KEY=VALUE", nargs="+", action="extend", default=[], help="override keys of the config")
    flags.add_argument("--check-data", action="store_true", help="only read all data once and list what is wrong")
    if tune:
        flags.add_argument("--tune", action="store_true", help="search hyper-parameters instead (the keys tune_...)")
    add_strategy(flags)
    arguments = flags.parse_args(argv)
    if tune and arguments.tune:
        if arguments.strategy != "none":
            flags.error("--tune trains on one device: leave --strategy out.")

        def work(run_dir, settings, workers):
            tune(run_dir, settings)

    def opened():
        workers = distribution.start(arguments.strategy, arguments.replicas)
        run_dir = _run_dir(arguments)
        new = not os.path.exists(os.path.join(run_dir, "config.yaml"))
        try:
            work(run_dir, runs.open_run(run_dir, arguments.config, arguments.set), workers=workers)
        except ValueError:
            # A run that never began must not keep its directory from the corrected command; other processes may have begun.
            if new and workers.count == 1:
                runs.remove_if_empty(run_dir)
            raise

    def checked():
        # A configuration given is checked alone: this starts no run, so none has to fit it.
        if arguments.config:
            settings = config.load(arguments.config, arguments.set)
        else:
            settings = runs.open_run(_run_dir(arguments), overrides=arguments.set)
        count = data.check(settings, splits)
        print(f"read {count} slices ({', '.join(splits)}): all can be used")

    return guarded(checked if arguments.check_data else opened)


def add_strategy(flags):
    """The flags of `distribution.start`."""
    meaning = "mirrored: all GPUs of this machine; multiworker: all processes that TF_CONFIG names (default: none, one device)"
    flags.add_argument("--strategy", choices=distribution.STRATEGIES, default="none", help=meaning)
    flags.add_argument("--replicas", metavar="N", type=int, help="mirrored, without a GPU: split the CPU into N devices")


def _show_warning(message, category, filename, lineno, file=None, line=None):
    """A warning as its user reads it: what is wrong, and not where in the code it was found."""
    del filename, lineno, line
    label = "warning" if issubclass(category, UserWarning) else f"warning: {category.__name__}"
    print(f"{label}: {message}", file=file or sys.stderr, flush=True)


def _run_dir(arguments):
    if arguments.run_dir:
        return os.path.normpath(arguments.run_dir)
    if not arguments.config:
        raise ValueError("Give --config FILE, or --run-dir DIR of an existing run.")
    return os.path.join("runs", os.path.splitext(os.path.basename(arguments.config))[0])


def guarded(work, interrupted="The same command continues after the last finished unit."):
    """Calls `work()`; a wrong input ends in one sentence and exit code 2, Ctrl-C in 130. Returns the exit code."""
    device.grow_memory()
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            work()
    except ValueError as error:
        print(f"error: {compat.plain_message(error)}", file=sys.stderr)
        return 2
    except (OSError, tf.errors.OpError) as error:
        print(f"error: {type(error).__name__}: {str(error).strip().splitlines()[0]}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"\ninterrupted. {interrupted}", file=sys.stderr)
        return 130
    return 0

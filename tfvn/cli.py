"""The command line shared by the scripts.

TensorFlow takes seconds to be imported. What is wrong with flags, keys and values is told before;
so here, modules that need it are imported where they are used.
"""

import argparse
import contextlib
import functools
import os
import re
import signal
import sys
import warnings

from tfvn import config

__all__ = [
    "Parser",
    "STRATEGIES",
    "add_set",
    "add_strategy",
    "command",
    "exit_with",
    "guarded",
    "parser",
    "run",
    "told",
    "whole_number",
]

# Those of `distribution.STRATEGIES`.
STRATEGIES = ("none", "mirrored", "multiworker")
# What a shell says of a process that SIGINT and SIGPIPE have ended.
_INTERRUPTED, _NOBODY_READS = 130, 141


class Parser(argparse.ArgumentParser):
    """A parser that takes no flag of one value twice, and whose flags of several values leave the
    other words alone.
    """

    def __init__(self, *arguments, **settings):
        settings.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(*arguments, **settings)
        self.register("action", None, _Once)
        self._several = {}

    def add_several(self, *names, values, **settings):
        """A flag of one or more values, a list of them all. Words after the first belong to it if
        they match `values`.
        """
        settings.setdefault("default", [])
        self.add_argument(*names, action="append", **settings)
        self._several.update(dict.fromkeys(names, re.compile(values, re.IGNORECASE)))

    # All other ways to parse come through these two. Whether the second comes through the first
    # depends on Python's version.
    def parse_known_args(self, args=None, namespace=None):
        return super().parse_known_args(self._spread(args), namespace)

    def parse_known_intermixed_args(self, args=None, namespace=None):
        return super().parse_known_intermixed_args(self._spread(args), namespace)

    def _spread(self, words):
        """`--set a=1 b=2 RUN` as `--set a=1 --set b=2 RUN`, which itself stays as it is."""
        words, result = list(sys.argv[1:] if words is None else words), []
        while words:
            word = words.pop(0)
            result.append(word)
            if word == "--":
                return result + words
            if word not in self._several or not words or words[0].startswith("-"):
                continue
            # The first belongs to it whatever it is: what is wrong with it will be told.
            result.append(words.pop(0))
            while words and self._several[word].fullmatch(words[0]):
                result += [word, words.pop(0)]
        return result


class _Once(argparse.Action):
    def __call__(self, parser, namespace, values, option_string=None):
        given = vars(namespace).setdefault("given", set())
        if option_string and self.dest in given:
            raise argparse.ArgumentError(self, "given twice")
        given.add(self.dest)
        setattr(namespace, self.dest, values)


def parser(description, program):
    """A parser that shows `description` as written, {0} being the program, and every configuration
    key below the flags.
    """
    keys = f"configuration keys, their defaults and meaning:\n{config.describe()}"
    return Parser(program, description=description.format(program), epilog=keys)


def add_set(flags, meaning):
    flags.add_several(
        "--set",
        metavar="KEY=VALUE",
        values=r"(?s)\s*[\w-]+\s*=.*",
        help=f"{meaning}; several may follow",
    )


def add_strategy(flags):
    """The flags of `distribution.start`."""
    meaning = (
        "mirrored: all GPUs of this machine; multiworker: all processes that TF_CONFIG names"
        " (default: none, one device)"
    )
    flags.add_argument("--strategy", choices=STRATEGIES, default="none", help=meaning)
    flags.add_argument(
        "--replicas",
        metavar="N",
        type=int,
        help="mirrored, without a GPU: split the CPU into N devices",
    )


def whole_number(text):
    """The type of a flag: how many there are of something."""
    if not re.fullmatch(r"[0-9]{1,10}", text) or not 1 <= int(text) < 2**31:
        raise argparse.ArgumentTypeError(
            f"expected a whole number from 1 to {2**31 - 1}. Received: {text[:200]!r}"
        )
    return int(text)


def run(description, work, argv=None, splits=("train", "test"), tune=None, program=None):
    """A script that does `work(run_dir, config, workers=)` on one run directory, or checks its
    data. Returns the exit code.

    With `tune`, a function `tune(run_dir, config)`, the script has a flag --tune to do that
    instead.
    """
    flags = parser(description, program)
    flags.add_argument(
        "--config", metavar="FILE", help="YAML file; needed to start a new run directory"
    )
    flags.add_argument(
        "--run-dir",
        metavar="DIR",
        help="where all results go (default: runs/<name of the config file>)",
    )
    add_set(flags, "override keys of the config")
    flags.add_argument(
        "--check-data", action="store_true", help="only read all data once and list what is wrong"
    )
    if tune:
        flags.add_argument(
            "--tune",
            action="store_true",
            help="search hyper-parameters instead (the keys tune_...)",
        )
    add_strategy(flags)
    arguments, rest = flags.parse_known_args(argv)
    if rest:
        flags.error(
            f"what is {' '.join(rest)[:200]}? A configuration is given by --config FILE, a run"
            " directory by --run-dir DIR, a key by --set KEY=VALUE, without blanks around = or in"
            " quotes"
        )
    if tune and arguments.tune:
        if arguments.strategy != "none":
            flags.error("--tune trains on one device: leave --strategy out.")

        def work(run_dir, settings, workers):
            tune(run_dir, settings)

    def read():
        path = arguments.config or os.path.join(_run_dir(arguments), "config.yaml")
        if arguments.config or os.path.exists(path):
            config.load(path, arguments.set)

    def opened():
        from tfvn import distribution
        from tfvn.runs import directory, locks

        workers = distribution.start(arguments.strategy, arguments.replicas)
        run_dir = _run_dir(arguments)
        # A run that never began must not keep its directory from the corrected command; other
        # processes may have begun.
        beginning = locks.undoing(run_dir) if workers.count == 1 else contextlib.nullcontext()
        with beginning:
            work(
                run_dir,
                directory.open_run(run_dir, arguments.config, arguments.set),
                workers=workers,
            )

    def checked():
        from tfvn import data
        from tfvn.runs import directory

        # A configuration given is checked alone: this starts no run, so none has to fit it.
        if arguments.config:
            settings = config.load(arguments.config, arguments.set)
        else:
            settings = directory.open_run(_run_dir(arguments), overrides=arguments.set)
        count, doubtful = data.review(settings, splits)
        doubts = f", {doubtful} with doubts (see the warning)" if doubtful else ""
        print(
            f"read {count} slice{'s' * (count != 1)} ({', '.join(splits)}): all can be used{doubts}"
        )
        print("Next: the same command without --check-data")

    return guarded(checked if arguments.check_data else opened, first=read)


def _run_dir(arguments):
    if arguments.run_dir:
        return os.path.normpath(arguments.run_dir)
    if not arguments.config:
        raise ValueError("Give --config FILE, or --run-dir DIR of an existing run.")
    return os.path.join("runs", os.path.splitext(os.path.basename(arguments.config))[0])


def _show_warning(message, category, filename, lineno, file=None, line=None):
    """A warning as its user reads it: what is wrong, and not where in the code it was found."""
    del filename, lineno, line
    label = "warning" if issubclass(category, UserWarning) else f"warning: {category.__name__}"
    print(f"{label}: {message}", file=file or sys.stderr, flush=True)


def guarded(
    work, interrupted="The same command continues after the last finished unit.", first=None
):
    """Calls `first()`, which needs no TensorFlow, and `work()`. Returns the exit code.

    A wrong input, a file that cannot be read or written and a lack of memory end in one sentence
    and exit code 2, Ctrl-C in
    130.
    """
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            if first:
                first()
            from tfvn import device

            device.grow_memory()
            work()
    except BrokenPipeError:
        raise  # for `command`
    except KeyboardInterrupt:
        print(f"\ninterrupted. {interrupted}", file=sys.stderr)
        return _INTERRUPTED
    except Exception as error:
        text = told(error)
        if text is None:
            raise
        print(f"error: {text}", file=sys.stderr)
        return 2
    return 0


def told(error):
    """The text of an error for its user; None for one that is a fault of ours."""
    # Where it is not imported, it has raised nothing.
    tensorflow = sys.modules.get("tensorflow")
    if isinstance(error, ValueError):
        if tensorflow is None:
            return str(error)
        from tfvn import compat

        return compat.plain_message(error)
    if isinstance(error, MemoryError):
        return f"there is not enough memory. {error}".strip()
    if isinstance(error, OSError) or (tensorflow and isinstance(error, tensorflow.errors.OpError)):
        first, *_ = [*str(error).strip().splitlines(), ""]
        return f"{type(error).__name__}: {first}"
    return None


def command(main):
    """Of a `main(argv=None)`: how it ends where nobody reads it any more, or on Ctrl-C."""

    @functools.wraps(main)
    def ended(argv=None):
        try:
            try:
                return main(argv)
            finally:
                # Here and not when Python closes, which would tell of it.
                # Closed, as by `>&-`, it is None.
                if sys.stdout is not None:
                    sys.stdout.flush()
        except BrokenPipeError:
            # As `... | head` leaves it. What is still to be flushed goes nowhere.
            if sys.stdout is not None:
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return _NOBODY_READS
        except KeyboardInterrupt:
            print("\ninterrupted.", file=sys.stderr)
            return _INTERRUPTED

    return ended


def exit_with(main):
    """Ends this process with the exit code of `main()`, a `command`: for programs."""
    try:
        sys.exit(main())
    finally:
        # All is done and told: what is left is Python's own clearing up, and no time to die of a
        # signal.
        signal.signal(signal.SIGINT, signal.SIG_IGN)

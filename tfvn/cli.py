"""What all command lines share: how words are read, and how a command ends.

TensorFlow takes seconds to be imported. What is wrong with flags is told before. So here, modules
that need it are imported where they are used.
"""

import argparse
import functools
import os
import re
import signal
import sys
import warnings

from tfvn import checks, choices, surroundings

__all__ = [
    "Parser",
    "SECTIONS_HELP",
    "add_cluster",
    "add_set",
    "add_strategy",
    "add_strategy_of_draws",
    "check_cluster",
    "command",
    "exit_with",
    "guarded",
    "told",
    "whole_number",
]

# What a shell says of a process that SIGINT and SIGPIPE have ended.
_INTERRUPTED = 130
_NOBODY_READS = 141
# What `--help` says of configurations. It imports no class, and takes no time.
SECTIONS_HELP = """\
A configuration has the sections data, sampling, model, training, defence,
attacks and search. `python -m tfvn keys` lists their keys, and
`python -m tfvn keys model` says what those of one section mean.
"""


class Parser(argparse.ArgumentParser):
    """A parser that takes no flag of one value twice.

    Its flags of several values leave the other words alone.
    """

    def __init__(self, *arguments, **settings):
        settings.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(*arguments, **settings)
        self.register("action", None, _Once)
        self._several = {}
        # Whether it has --set, see `add_set`.
        self.takes_keys = False

    def add_several(self, *names, values, **settings):
        """Adds a flag of one or more values, of which the result is a list.

        Words after the first belong to the flag if they match the pattern `values`.
        """
        settings.setdefault("default", [])
        self.add_argument(*names, action="append", **settings)
        pattern = re.compile(values, re.IGNORECASE)
        self._several.update(dict.fromkeys(names, pattern))

    # All other ways to parse come through these two. Whether the second comes through the first
    # depends on Python's version.
    def parse_known_args(self, args=None, namespace=None):
        return super().parse_known_args(self._spread(args), namespace)

    def parse_known_intermixed_args(self, args=None, namespace=None):
        return super().parse_known_intermixed_args(self._spread(args), namespace)

    def _spread(self, words):
        """`--set a=1 b=2 RUN` as `--set a=1 --set b=2 RUN`, which itself stays as it is."""
        words = list(sys.argv[1:] if words is None else words)
        result = []
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


def add_set(parser, meaning):
    """Adds the flag --set, which overrides configuration keys."""
    parser.takes_keys = True
    parser.add_several(
        "--set",
        metavar="SECTION.KEY=VALUE",
        values=r"(?s)\s*[\w.-]+\s*=.*",
        help=f"{meaning}; several may follow",
    )


def add_strategy(parser):
    """Adds the flags that `tfvn.workers.start` takes, of a training."""
    _add_strategy(
        parser,
        choices.STRATEGIES,
        "mirrored: all GPUs of this machine; multiworker: all processes that TF_CONFIG names"
        " (default: none, one device)",
    )


def add_strategy_of_draws(parser):
    """The same for what a model answers."""
    _add_strategy(
        parser,
        choices.STRATEGIES_OF_DRAWS,
        "mirrored: all GPUs of this machine share the draws of a smoothed model (default: none,"
        " one device)",
    )


def _add_strategy(parser, kinds, meaning):
    parser.add_argument("--strategy", choices=kinds, default="none", help=meaning)
    parser.add_argument(
        "--replicas",
        metavar="N",
        type=int,
        help="mirrored, without a GPU: split the CPU into N devices",
    )


def add_cluster(parser):
    """Adds the flags that `tfvn.cluster.connected` takes."""
    group = parser.add_mutually_exclusive_group()
    group.add_argument(
        "--workers",
        metavar="N",
        type=whole_number,
        help="so many processes on this machine share the work (needs Dask)",
    )
    group.add_argument(
        "--scheduler",
        metavar="ADDRESS",
        help="the workers of a scheduler of Dask share it, such as tcp://10.0.0.1:8786",
    )


def check_cluster(arguments, parser):
    """Ends the program if a cluster and a strategy are asked for together."""
    if (arguments.workers or arguments.scheduler) and arguments.strategy != "none":
        parser.error(
            "with --workers and --scheduler each worker has one device: leave --strategy out"
        )


def whole_number(text):
    """The type of a flag that says how many there are of something."""
    if not re.fullmatch(r"[0-9]{1,10}", text) or not 1 <= int(text) < 2**31:
        raise argparse.ArgumentTypeError(
            f"expected a whole number from 1 to {2**31 - 1}. Received: {checks.shown(text)}"
        )
    return int(text)


def guarded(work, interrupted="The same command continues after the last finished unit."):
    """Calls `work()`. Returns the exit code.

    A wrong input, a file that cannot be read or written and a lack of memory end in one sentence
    and exit code 2, and Ctrl-C ends in 130.
    """
    try:
        with warnings.catch_warnings(), surroundings.without_advice():
            warnings.showwarning = _show_warning
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


def _show_warning(message, category, filename, lineno, file=None, line=None):
    """A warning as its user reads it: what is wrong, and not where in the code it was found."""
    del filename, lineno, line
    label = "warning"
    if not issubclass(category, UserWarning):
        label = f"warning: {category.__name__}"
    print(f"{label}: {message}", file=file or sys.stderr, flush=True)


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
        # What a graph has checked says it below where that was.
        checked = re.search(r"assertion failed: \[(.*?)\]", str(error))
        if checked:
            return checked[1]
        first, *_ = [*str(error).strip().splitlines(), ""]
        return f"{type(error).__name__}: {first}"
    return None


def command(main):
    """Decorates a `main(argv=None)`: it ends quietly on Ctrl-C and where nobody reads any more."""

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

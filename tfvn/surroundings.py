"""TensorFlow, Keras and Matplotlib as this package needs them, whatever the surroundings say.

*Messages.* `TF_CPP_MIN_LOG_LEVEL` silences most of what TensorFlow tells its own developers. Its
libraries say some things before they have read that variable, and XLA says one thing whatever it
is. They write to file descriptor 2 from C++. Where that happens, the descriptor leads through a
process that drops the lines known below. All others pass: errors, and the last words of a process
that is aborted.

*Choices.* This package computes with TensorFlow and writes pictures to files. It has no use for
another backend of Keras, nor for a window or a notebook to draw in. A variable that asks for one is
not obeyed. `MPLBACKEND` stays as it is, for figures of the user's own. A process has one Keras, so
`os.environ` is changed for it, and processes started from here inherit that. `KERAS_BACKEND` is set
to tensorflow. `TF_USE_LEGACY_KERAS` is removed where the package that it asks for is missing.
"""

import contextlib
import functools
import importlib.abc
import importlib.util
import logging
import os
import subprocess
import sys
import threading
import warnings

__all__ = ["prepare", "quietly", "register", "start_xla", "without_advice"]

# How long lines that are on their way may take, at the end of a context.
_SECONDS = 2
# What is information (I), the heading that absl puts above it, and the second line of one of them.
_DROPPED = (
    r"^(I[0-9]{4} [0-9:.]+ |WARNING: All log messages before absl::|To enable the following"
    r" instructions: )"
)


def prepare():
    """Prepares the imports of TensorFlow, Keras and Matplotlib. It is called once.

    A package that has been imported before stays as it is.

    Raises:
        ImportError: if Keras has been imported with another backend.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.meta_path.insert(0, _Finder())
    backend = getattr(sys.modules.get("keras"), "backend", None)
    if backend is not None and backend.backend() != "tensorflow":
        raise ImportError(
            "tfvn needs Keras with its TensorFlow backend. Received: keras was imported with the"
            f" backend {backend.backend()}. Import tfvn first, or set KERAS_BACKEND=tensorflow."
        )
    # Before ~/.keras/keras.json, which may name another.
    os.environ["KERAS_BACKEND"] = "tensorflow"
    if importlib.util.find_spec("tf_keras") is None:
        # It asks for a package that is not there. Keras 2 or 3, both will do.
        os.environ.pop("TF_USE_LEGACY_KERAS", None)


@contextlib.contextmanager
def quietly():
    """A context in which the known lines are dropped.

    It does nothing where `TF_CPP_MIN_LOG_LEVEL` is below 3, as lines are wanted there.
    """
    level = os.environ.get("TF_CPP_MIN_LOG_LEVEL", "")
    with contextlib.ExitStack() as stack:
        if level.isdigit() and int(level) >= 3:
            # There is nothing to be done without a standard error, or without grep.
            with contextlib.suppress(OSError):
                stack.enter_context(_filtered())
        yield


@contextlib.contextmanager
def _filtered():
    with contextlib.ExitStack() as stack:
        kept = os.dup(2)
        stack.callback(os.close, kept)
        command = [
            "grep",
            "--text",
            "--line-buffered",
            "--invert-match",
            "--extended-regexp",
            _DROPPED,
        ]
        environment = {**os.environ, "LC_ALL": "C"}
        # In a session of its own: Ctrl-C is for this process, and must not end the filter before
        # it.
        grep = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=kept, env=environment, start_new_session=True
        )
        stack.callback(_finish, grep)
        stack.callback(grep.stdin.close)
        os.dup2(grep.stdin.fileno(), 2)
        stack.callback(os.dup2, kept, 2)
        yield


def _finish(grep):
    try:
        grep.wait(timeout=_SECONDS)
    except subprocess.TimeoutExpired:
        # A process started in the context has inherited the descriptor. Its lines go on through
        # the filter, which ends with it.
        threading.Thread(target=grep.wait, daemon=True).start()


@contextlib.contextmanager
def _any_backend():
    """A context to import Matplotlib in, whatever backend is asked for.

    A backend that is not there, such as that of a notebook, is no reason to fail: none is used.
    """
    wanted = os.environ.pop("MPLBACKEND", None)
    try:
        with _deprecated():
            yield
    finally:
        if wanted is not None:
            os.environ["MPLBACKEND"] = wanted
    with contextlib.suppress(ValueError):
        # As Matplotlib does it: one that is there is its user's, for figures of their own.
        if wanted:
            sys.modules["matplotlib"].rcParams["backend"] = wanted


@contextlib.contextmanager
def _deprecated():
    """A context without warnings of deprecated names.

    Matplotlib's own use of pyparsing is no fault of users who make warnings errors
    (`PYTHONWARNINGS=error`).
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


_AROUND = {
    "tensorflow": quietly,
    "keras": contextlib.nullcontext,
    "matplotlib": _any_backend,
    "matplotlib.figure": _deprecated,
}


class _Finder(importlib.abc.MetaPathFinder):
    """Loads TensorFlow, Keras and Matplotlib inside the contexts of `_AROUND`.

    It finds them where they are, whichever module imports them first.
    """

    def __init__(self):
        self._finding = set()

    def find_spec(self, name, path=None, target=None):
        del path, target
        # One that is there is only reloaded.
        if name not in _AROUND or name in self._finding or name in sys.modules:
            return None
        self._finding.add(name)
        try:
            spec = importlib.util.find_spec(name)
        finally:
            # To be found is not to be imported: that may come later, or again after it has failed.
            self._finding.discard(name)
        if spec is not None and spec.loader is not None:
            spec.loader.exec_module = functools.partial(_load, spec.loader.exec_module)
        return spec


def _load(load, module):
    with _AROUND[module.__name__]():
        try:
            load(module)
        except TypeError as error:
            if sys.flags.optimize < 2:
                raise
            raise ImportError(
                f"{module.__name__} cannot be imported without docstrings. "
                "Received: PYTHONOPTIMIZE=2 or python -OO. Use 1 at most."
            ) from error
    if module.__name__ in ("tensorflow", "keras"):
        register(module)


def register(loaded=None):
    """Imports the classes of networks, without which Keras does not find them in saved files.

    It is called as soon as there is a TensorFlow, and a Keras where that is imported first. In the
    middle of Keras it does nothing: it is called again at the end. In the middle of a module of
    this package it does nothing: that module imports what it needs.

    Args:
        loaded: the module that has just been executed, which still counts as being imported.
    """
    for name, module in list(sys.modules.items()):
        if module is loaded:
            continue
        is_waited_for = name == "keras" or name.startswith("tfvn.")
        if is_waited_for and getattr(module.__spec__, "_initializing", False):
            return
    if "tensorflow" not in sys.modules:
        return
    importlib.import_module("tfvn.models.variational")


@contextlib.contextmanager
def without_advice():
    """A context without TensorFlow's advice on functions that are traced again.

    A program that trains several networks traces Keras's functions once for each. Who programs with
    TensorFlow may need the advice, and so it is dropped in our own programs alone.
    """
    logger = logging.getLogger("tensorflow")
    logger.addFilter(_is_no_advice)
    try:
        yield
    finally:
        logger.removeFilter(_is_no_advice)


def _is_no_advice(record):
    return "triggered tf.function retracing" not in record.getMessage()


@functools.cache
def start_xla():
    """Lets XLA compile something.

    At the first time it says that it has. That is better now than in the middle of a progress bar.
    """
    import tensorflow as tf

    with quietly(), tf.init_scope():
        tf.function(lambda x: x + 1, jit_compile=True)(tf.zeros([]))

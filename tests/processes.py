"""Processes that begin with TensorFlow and the package imported.

To import them takes three seconds of a processor. These processes are forked from one that has
imported them and has computed nothing yet. What a process says when it imports something, and how
the interpreter ends, is not tested with them.
"""

import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

__all__ = ["Process", "kill", "run"]

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["tfvn.runs.train", "tfvn.results.evaluate"])


_AS_TRACED = """
import tensorflow as tf
tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
"""

_KILLED = """
import os, signal
from tfvn.results import evaluate, measure
from tfvn.runs import attack_files
from tfvn import files
from tfvn.attacks import apgd, ascent
from tfvn.training import loop
module, name, number = {module}, {name!r}, {number}
original, calls = getattr(module, name), []

def counted(*arguments, **keywords):
    calls.append(0)
    if len(calls) == number:
        os.kill(os.getpid(), signal.SIGKILL)
    return original(*arguments, **keywords)

setattr(module, name, counted)
import {script}
{script}.main({arguments!r})
"""


class Process:
    """A new process that runs Python code.

    Args:
        code: what is run.
        arguments: strings, `sys.argv[1:]` there.
        folder: where it works; None for the folder of this process.
        as_traced: whether its graphs run as they were traced, see AS_TRACED of conftest.py.
        environment: variables that are set there.
    """

    def __init__(self, code, *arguments, folder=None, as_traced=False, **environment):
        self._output = []
        for _ in range(2):
            handle, name = tempfile.mkstemp()
            os.close(handle)
            self._output.append(name)
        self._code = code
        if as_traced:
            code = _AS_TRACED + code
        environment = {**os.environ, **environment}
        call = (code, arguments, folder or os.getcwd(), environment, self._output)
        self._process = _CONTEXT.Process(target=_work, args=call, daemon=True)
        self._process.start()

    def wait(self, timeout=600):
        """What has become of it, a `subprocess.CompletedProcess`. It is killed after so many
        seconds.
        """
        self._process.join(timeout)
        self._process.kill()
        self._process.join()
        told = [Path(name).read_text(encoding="utf-8") for name in self._output]
        return subprocess.CompletedProcess(self._code, self._process.exitcode, *told)

    def kill(self):
        """Ends it, if it runs."""
        self._process.kill()
        self._process.join()
        for name in self._output:
            Path(name).unlink(missing_ok=True)


def run(code, *arguments, timeout=600, **settings):
    """What has become of a new `Process`, when it has ended."""
    process = Process(code, *arguments, **settings)
    try:
        return process.wait(timeout)
    finally:
        process.kill()


def kill(script, arguments, module, name, number):
    """Runs a script in a process of its own that is killed (SIGKILL) at the n-th call of a
    function.
    """
    code = _KILLED.format(
        script=script, arguments=arguments, module=module, name=name, number=number
    )
    done = run(code, as_traced=True)
    assert done.returncode == -signal.SIGKILL, done.stderr


def _work(code, arguments, folder, environment, names):
    for descriptor, name in enumerate(names, 1):
        file = os.open(name, os.O_WRONLY | os.O_APPEND)
        os.dup2(file, descriptor)
        os.close(file)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.argv = ["-c", *map(str, arguments)]
    exec(compile(code, "<code>", "exec"), {"__name__": "__main__"})

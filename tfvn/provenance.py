"""What made a result: the versions of the packages, the commit, the machine and the command.

`VERSION` is the version of this package. Results keep it, and so it stands in the lowest layer;
`tfvn.__version__` is the same.
"""

import contextlib
import hashlib
import importlib.metadata
import os
import platform
import shlex
import subprocess
import sys

__all__ = ["VERSION", "commit", "devices", "origin", "own_command", "products", "versions"]

VERSION = "0.1.0"  # also in setup.py

_PACKAGES = ("tensorflow", "keras", "tensorflow-addons", "numpy", "scipy", "h5py", "matplotlib")


def origin():
    """Versions, commit and machine, as a dict of texts."""
    return {
        "tfvn": VERSION,
        "git commit": commit() or "unknown",
        **versions(_PACKAGES),
        "Python": platform.python_version(),
        "platform": platform.platform(),
        "devices": ", ".join(devices()),
    }


def versions(packages):
    """The versions of those packages that are installed, as a dict."""
    found = {}
    for name in packages:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def devices():
    """The names of the devices that TensorFlow sees, of a GPU with its model."""
    # Whoever asks for a version alone does not wait for TensorFlow.
    import tensorflow as tf

    names = []
    for device in tf.config.list_physical_devices():
        name = device.name.replace("/physical_device:", "")
        if device.device_type == "GPU":
            details = tf.config.experimental.get_device_details(device)
            name = f"{name} {details.get('device_name', '')}".strip()
        names.append(name)
    return names


def own_command():
    """The command that began this process, to be pasted into a shell."""
    return shlex.join(getattr(sys, "orig_argv", [sys.executable, *sys.argv]))


def commit():
    """The git commit of this package's files, or None outside a git checkout.

    Where files have changed since, the text says so.
    """
    try:
        # Not the commit of a checkout that only has this installation somewhere inside.
        _git("ls-files", "--error-unmatch", os.path.basename(__file__))
        found = _git("rev-parse", "HEAD")
        changed = _git("status", "--porcelain", "--", ".")
    except (OSError, subprocess.SubprocessError):
        return None
    if changed:
        return f"{found} with uncommitted changes"
    return found


def _git(*arguments):
    """What a git command prints that is called in the folder of this package."""
    folder = os.path.dirname(os.path.abspath(__file__))
    command = ["git", "-C", folder, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
    return done.stdout.strip()


def products():
    """How NumPy rounds a product of matrices: a hash of one. That depends on the processor, and on
    whether OPENBLAS_NUM_THREADS or OMP_NUM_THREADS is 1.
    """
    # Whoever asks for a version alone does not wait for NumPy either.
    import numpy as np

    ramp = np.sin(np.arange(2 * 256 * 256, dtype=np.float32)).view(np.complex64).reshape(256, 256)
    return f"that round as {hashlib.sha256((ramp @ ramp.T).tobytes()).hexdigest()[:12]}"

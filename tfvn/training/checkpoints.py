"""The checkpoints of a training: `ckpt-N.index` and `ckpt-N.data-...` in a folder, made after N
iterations.

Which checkpoints there are is read from the names in the folder. No index beside them can be
damaged then, and no clock decides which is the last one. TensorFlow takes the path of a checkpoint
for a pattern of file names, in which brackets have a meaning, so it is shown another name of the
folder.
"""

import contextlib
import os
import re
import shutil
import weakref

import tensorflow as tf

from tfvn.files import reason

__all__ = ["Checkpoints"]

# Numbers are those of the iterations; before 2026-11 they counted the checkpoints, of which none is
# larger.
_INDEX = re.compile(r"ckpt-(\d+)\.index")
_FILE = re.compile(r"ckpt-(\d+)(_temp.*|\.(?:data-|index).*)")
# What TensorFlow says where the content of the files is not to blame: memory, permission, a server.
_OTHER_FAILURES = (
    tf.errors.ResourceExhaustedError,
    tf.errors.PermissionDeniedError,
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
)


class Checkpoints:
    """The last few checkpoints of a training in a folder, which is made by the first `save`.

    Args:
        checkpoint: a `tf.train.Checkpoint`.
        folder: any folder, whatever signs its path holds.
        keep: how many are kept, >= 1.
    """

    def __init__(self, checkpoint, folder, keep=2):
        self.folder = os.fspath(folder)
        self._checkpoint = checkpoint
        self._keep = keep
        self._close = None

    def numbers(self):
        """The iterations of the checkpoints that there are, in ascending order.

        Raises:
            ValueError: if the folder cannot be read.
        """
        try:
            names = os.listdir(self.folder)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise ValueError(_unreadable(self.folder, error)) from error
        found = []
        for name in names:
            match = _INDEX.fullmatch(name)
            if match:
                found.append(int(match[1]))
        return sorted(found)

    def path(self, number):
        """The path of the checkpoint of an iteration, without the endings of its files."""
        return os.path.join(self.folder, f"ckpt-{number}")

    def save(self, number):
        """Writes the checkpoint of an iteration, then removes all but the last few.

        Returns:
            Its path.

        Raises:
            ValueError: if it cannot be written (full disk, quota, permission). The ones before are
                left as they were.
        """
        path = self.path(number)
        try:
            os.makedirs(self.folder, exist_ok=True)
            self._tidy()
            self._checkpoint.write(self._seen_by_tensorflow(number))
        except (OSError, tf.errors.OpError) as error:
            self._tidy()
            raise ValueError(
                f"cannot write {path}: {reason(error)}. The checkpoints before it are left as they"
                " were. Make room or give permission there; the same command continues."
            ) from error
        for other in self.numbers()[: -self._keep]:
            self._remove(other)
        return path

    def restore(self):
        """Reads the last checkpoint, or the one before it if that is damaged.

        Returns:
            Its path; None if there is none.

        Raises:
            ValueError: for a checkpoint of another training, for one that may not be read, or if
                all are damaged.
        """
        numbers = self.numbers()
        for number in reversed(numbers):
            damage = self._damage(number)
            if not damage:
                return self.path(number)
            print(f"{self.path(number)} is damaged ({damage})")
        if numbers:
            raise ValueError(
                f"{self.folder}: all checkpoints are damaged. To begin again at iteration 0, move"
                " that folder away; to continue, put a copy of a whole one there."
            )
        return None

    def _damage(self, number):
        """Reads a checkpoint; what is wrong with its files, None where all is well."""
        path = self.path(number)
        files = self._files(number)
        if not any(".data-" in file for file in files):
            return "its data file is missing"
        try:
            for file in files:
                with open(file, "rb"):
                    pass
            status = self._checkpoint.read(self._seen_by_tensorflow(number))
            # What does not fit is told here, and not by TensorFlow value by value.
            status.expect_partial().assert_existing_objects_matched()
        except OSError as error:
            raise ValueError(_unreadable(path, error)) from error
        except (AssertionError, ValueError, tf.errors.InvalidArgumentError) as error:
            raise ValueError(
                f"{path}: a checkpoint of another network or optimizer, or of the other Keras: a"
                " training ends with the Keras (2 or 3) that it began with. Use that, or another"
                " run directory."
            ) from error
        except _OTHER_FAILURES as error:
            raise ValueError(
                f"cannot read {path}: {reason(error)}. It is left as it is; try again."
            ) from error
        except (IndexError, tf.errors.OpError) as error:
            return reason(error)
        return None

    def _seen_by_tensorflow(self, number):
        """A path of the checkpoint without signs that make a pattern of it."""
        if not os.path.isdir("/proc/self/fd"):
            return self.path(number)
        # The folder itself may be another one since the last call.
        if self._close:
            self._close()
        opened = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        # Not earlier: some optimizers read their values at their first step.
        self._close = weakref.finalize(self, os.close, opened)
        return f"/proc/self/fd/{opened}/ckpt-{number}"

    def _files(self, number):
        """The paths of the files of a checkpoint."""
        found = []
        for name in os.listdir(self.folder):
            if name.startswith(f"ckpt-{number}."):
                found.append(os.path.join(self.folder, name))
        return found

    def _tidy(self):
        """Removes what a process that was killed, or found no room, left of a checkpoint."""
        if not os.path.isdir(self.folder):
            return
        whole = self.numbers()
        for name in os.listdir(self.folder):
            match = _FILE.fullmatch(name)
            if not match:
                continue
            path = os.path.join(self.folder, name)
            if match[2].startswith("_temp"):
                shutil.rmtree(path, ignore_errors=True)
            elif int(match[1]) not in whole:
                _remove_file(path)

    def _remove(self, number):
        # The index first: without it there is no checkpoint, where with it there would be a damaged
        # one.
        for file in sorted(self._files(number), key=lambda file: not file.endswith(".index")):
            _remove_file(file)


def _remove_file(path):
    with contextlib.suppress(OSError):
        os.remove(path)


def _unreadable(path, error):
    return (
        f"cannot read {path}: {error.strerror or error}. It is left as it is: give permission"
        " there, or look after the disk."
    )

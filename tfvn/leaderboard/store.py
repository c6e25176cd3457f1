"""Where the results of a board lie, and files of JSON that appear whole or not at all.

    store/models/TRAINING/           run directory of a training
    store/rows/ROW/model.keras       the network of a row
    store/rows/ROW/measured/         what was measured of it without an attack, a file a slice
    store/rows/ROW/ATTACK/           run directory of one attack on it, with `measured/` of its own
    store/rows/ROW/row-ATTACKS.json  all that is known of the row under these attacks
    store/rows/ROW/transfer/ROW-ATTACKS.json  what the changes found for another row do to it
    store/rows/ROW/submitted/CHANGE.h5, .json  what others have found for it, and what that does
    store/rows/ROW/shown/ATTACKS-RADIUS.json  pictures of its middle slice
    store/floors/FLOOR/              what no method can be below, a file a slice
    times.csv                        how long it took
    rows/NAME-ROW.json, results.csv, floor.csv, leaderboard.md, leaderboard.html

The names in capitals are hashes, see `tfvn.leaderboard.addresses`. Whatever is there under its
hash is done.
"""

import json
import os
import shutil

from tfvn import files
from tfvn.leaderboard import addresses
from tfvn.runs import directory

__all__ = ["Store", "name_of_row", "read_json", "share", "write_json"]


class Store:
    """The results below a folder.

    Args:
        output: the folder, made when something is written.
    """

    def __init__(self, output):
        self.output = output
        self.times = os.path.join(output, "times.csv")

    def training(self, config):
        """The run directory of a configuration's training."""
        return self._in("models", addresses.of_training(config))

    def row(self, config):
        """The folder of a row."""
        return self._in("rows", addresses.of_row(config, addresses.of_training(config)))

    def told(self, config):
        """The file of all that is known of a row."""
        return os.path.join(self.row(config), name_of_row(config))

    def knows(self, config):
        """Whether that is there, and not damaged."""
        return read_json(self.told(config)) is not None

    def floor(self, config, radii):
        """The folder of what no method can be below, for test slices and radii."""
        return self._in("floors", addresses.of_floor(config, radii))

    def resolved(self, config):
        """The same configuration with paths, where it has the networks of other trainings."""
        models = self._in("models", "")
        changed = {}
        for key, value in config.flat().items():
            if isinstance(value, str) and addresses.TRAINING in value:
                changed[key] = value.replace(addresses.TRAINING, models)
        return config.changed(changed) if changed else config

    def _in(self, *names):
        return os.path.join(self.output, "store", *names)


def name_of_row(config):
    """The name of the file with all that is known of a row under the attacks of a configuration."""
    return f"row-{addresses.of_attacks(config)}.json"


def share(folder, other, name):
    """Gives a file of one folder to another one too; without a copy, where the disk allows it."""
    path = os.path.join(other, name)
    source = os.path.join(folder, name)
    if os.path.exists(path) or not os.path.exists(source):
        return
    directory.make_folder(other)
    with files.replacing(path) as temporary:
        try:
            os.link(source, temporary)
        except OSError:
            shutil.copyfile(source, temporary)


def write_json(path, content, indent=None):
    """Writes what JSON knows as a file, whose text is the same for the same content."""
    directory.make_folder(os.path.dirname(path))
    with files.replacing(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        json.dump(content, file, indent=indent, ensure_ascii=False)
        file.write("\n")


def read_json(path):
    """The content of such a file; None where there is none, or a damaged one."""
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except (OSError, ValueError):
        return None

"""The file of a leaderboard: one protocol, and the rows that are measured by it.

    title: Knees in a minute
    version: knees-1
    data: {format: synthetic, num_test: 4}
    sampling: {mask: constant, fraction: 0.15}
    attacks:
      - {name: suite, sizes: [1.5, 2.5, 3.5]}
    rows:
      - {name: U-Net, config: ../models/unet.yaml}
      - {name: smoothed, config: ../models/unet.yaml, set: [defence=smoothed, defence.sigma=0.05]}

The sections `data`, `sampling` and `attacks` are those of a configuration. They are the protocol,
and hold for all rows. What a row says is its model, its training and its defence. `source` is a
text that says where the data are from, and their licence. `floor: false` leaves out what no method
can be below.

A row may be attacked by more than the protocol has, by what knows its defence, and never by less:

      - name: cyclic
        config: ../defences/cyclic.yaml
        attacks:
          - {name: apgd, goal: error, gradient: last-steps, sizes: [1.5, 2.5, 3.5]}

Where a file of a network is asked for, `row:NAME` is the trained network of a row above:

      - name: fine-tuned
        config: ../models/unet.yaml
        set: ["training.initial_weights=row:U-Net"]
"""

import os
from typing import NamedTuple

from tfvn import attacks, checks, yaml_text
from tfvn import config as configs
from tfvn.choices import ABOUT
from tfvn.leaderboard import addresses
from tfvn.parts import naming, nearest

__all__ = ["Board", "Entry", "read"]

# What is no section of the protocol.
_OWN = ("title", "version", "source", "floor", "rows")
_PROTOCOL = ("data", "sampling", "attacks")
# The keys of a row.
_OF_ROW = ("name", "config", "model", "set", "attacks", *ABOUT)
_FLAGS = {"true": True, "false": False}
# How the network of another row begins in a setting.
_OF_OTHER = "row:"
# Rows that every board has: what they reach is known in closed form.
_ALWAYS = {"zero-filled": {}, "cg-sense": {"mu": 0.0003, "tolerance": 1e-6, "iterations": 1000}}


class Entry(NamedTuple):
    """A row as the file has it.

    name: in the table.
    config: its `tfvn.config.Config`, with the data and the sampling of the protocol, and with the
        attacks of the protocol and its own.
    about: a dict of texts by the names of `tfvn.choices.ABOUT`, "" where nothing was said.
    """

    name: str
    config: configs.Config
    about: dict


class Board(NamedTuple):
    """A leaderboard.

    title, version: of the protocol.
    protocol: a `tfvn.config.Config`, of which data, sampling and attacks count.
    entries: a list of `Entry`.
    floor: whether what no method can be below stands beside the rows, see
        `tfvn.leaderboard.floors`.
    source: where the data are from, in words; "" where nothing was said.
    """

    title: str
    version: str
    protocol: configs.Config
    entries: list
    floor: bool = True
    source: str = ""

    def radii(self):
        """The radii of the l2 balls that attacks of the protocol stay in, in ascending order."""
        return _radii(self.protocol)

    def middle(self):
        """The radius that rows are ranked at, the lower one of two in the middle."""
        radii = self.radii()
        return radii[(len(radii) - 1) // 2]


def _radii(protocol):
    found = set()
    for part in protocol.attacks:
        attack = part.make(seed=0)
        if attack.bounded_in_l2:
            found.update(attack.sizes)
    return sorted(found - {0})


def read(path):
    """The `Board` of a YAML file. Paths of its rows are relative to its folder, and those of the
    data as in any configuration.

    Raises:
        ValueError: for a key that is not known, a row that is no configuration, two rows of one
            name, and a protocol without an attack in l2 balls.
        OSError: if the file cannot be read.
    """
    source = os.fspath(path)
    with naming(source):
        entries = yaml_text.read(path)
        own, sections, rows = {}, [], {}
        for entry in entries:
            _take(entry, own, sections, rows)
    protocol = configs.of_entries(source, sections)
    with naming(source):
        found = []
        for number in sorted(rows):
            found.append(_entry(number, rows[number], protocol, os.path.dirname(source), found))
        stem, _ = os.path.splitext(os.path.basename(source))
        named = own.get("title", stem), own.get("version", stem)
        board = Board(*named, protocol, found, own.get("floor", True), own.get("source", ""))
        _check(board)
        return board._replace(entries=[*_missing(board), *found])


def _take(entry, own, sections, rows):
    """Puts an entry of the file where it belongs."""
    first = entry.path[0]
    if first in _PROTOCOL:
        sections.append(entry)
        return
    if first not in _OWN:
        raise ValueError(
            f"line {entry.line}: a board has the keys {', '.join([*_OWN, *_PROTOCOL])}. Received:"
            f" {checks.shown(first)}. Model, training and defence belong to the configuration of a"
            " row."
        )
    if first != "rows":
        own[first] = _flag(entry) if first == "floor" else _text(entry)
        return
    if len(entry.path) == 1 and not entry.value:
        return
    if len(entry.path) < 3 or not isinstance(entry.path[1], int):
        raise ValueError(f"line {entry.line}: rows are a list of '- name: ...'.")
    _, number, key, *inside = entry.path
    if key not in _OF_ROW:
        raise ValueError(
            f"line {entry.line}: a row has the keys {', '.join(_OF_ROW)}. Received:"
            f" {checks.shown(key)}{nearest(key, _OF_ROW)}"
        )
    row = rows.setdefault(number, {})
    if key == "attacks":
        row.setdefault(key, []).append(entry._replace(path=(key, *inside)))
    elif inside:
        raise ValueError(f"line {entry.line}: {key} of a row has no sections.")
    else:
        row[key] = entry.value if key == "set" else _text(entry)


def _text(entry):
    if not isinstance(entry.value, str):
        raise ValueError(
            f"line {entry.line}: {entry.path[-1]} is a text. Received: {checks.shown(entry.value)}"
        )
    return entry.value


def _flag(entry):
    found = _FLAGS.get(_text(entry).lower())
    if found is None:
        raise ValueError(
            f"line {entry.line}: {entry.path[-1]} is true or false. Received:"
            f" {checks.shown(entry.value)}"
        )
    return found


def _entry(number, row, protocol, folder, above):
    """The `Entry` of a row's keys. `above` are those of the rows before it, a list."""
    if not row.get("name", "").strip():
        raise ValueError(f"row {number + 1} has no name. Give it one: '- name: ...'.")
    if "config" not in row and "model" not in row:
        raise ValueError(
            f"row {checks.shown(row['name'])} has no model. Name a configuration (config: FILE) or"
            " a trained network (model: FILE)."
        )
    path = None
    if "config" in row:
        path = os.path.join(folder, row["config"])
    given = row.get("set", [])
    overrides = [given] if isinstance(given, str) else list(given)
    overrides = [_with_others(text, above) for text in overrides]
    if "model" in row:
        overrides.append(f"model.file={os.path.join(folder, row['model'])}")
    about = {key: row.get(key, "") for key in ABOUT}
    config = _under(protocol, configs.load(path, overrides), _own_attacks(protocol, row))
    return Entry(row["name"], config, about)


def _with_others(text, above):
    """A setting with the trainings of rows above in the place of their names."""
    if text.startswith(f"model.file={_OF_OTHER}"):
        raise ValueError(
            "model.file is a file. For the network of a row above give"
            f" training.initial_weights={_OF_OTHER}NAME and training.iterations=0. Received:"
            f" {checks.shown(text)}"
        )
    given = text
    # A name may begin with another one.
    for entry in sorted(above, key=lambda entry: len(entry.name), reverse=True):
        named = _OF_OTHER + entry.name
        if named in text:
            training = addresses.of_training(entry.config)
            text = text.replace(named, addresses.TRAINING + training)
    if _OF_OTHER in text or (text != given and not all(map(_is_network, _values(text)))):
        raise ValueError(
            f"{_OF_OTHER}NAME is the network of a row above. There is none of that name. Received:"
            f" {checks.shown(given)}"
        )
    return text


def _values(text):
    """The values of a setting, which may be several with commas between them."""
    _, _, value = text.partition("=")
    return [one.strip() for one in value.split(",")]


def _is_network(value):
    """Whether a value is the network of a training, or a file. What is left of a name is none."""
    return bool(addresses.NETWORK.fullmatch(value)) or os.path.exists(value)


def _under(protocol, config, own=()):
    """The configuration of a row, with the data and the attacks of the protocol.

    Args:
        protocol, config: a `tfvn.config.Config` each.
        own: attacks of this row alone, a tuple of `tfvn.parts.Part`.
    """
    return configs.Config(
        config.seed,
        protocol.data,
        protocol.sampling,
        config.model,
        config.training,
        config.defence,
        (*protocol.attacks, *own),
        config.search,
    )


def _own_attacks(protocol, row):
    """The attacks that a row has beside those of the protocol, a tuple of `tfvn.parts.Part`."""
    if "attacks" not in row:
        return ()
    source = f"the attacks of row {checks.shown(row['name'])}"
    found = configs.of_entries(source, row["attacks"]).attacks
    made = [part.make(seed=0) for part in (*protocol.attacks, *found)]
    with naming(f"{source}, with those of the protocol"):
        attacks.check_kinds(made)
    radii = _radii(protocol)
    for attack in made[len(protocol.attacks) :]:
        others = sorted(set(attack.sizes) - {0, *radii})
        if attack.bounded_in_l2 and others:
            raise ValueError(
                f"{source} must have radii that the protocol has, {checks.shown(radii)}, as the"
                f" table has no others. Received: {checks.shown(others)}"
            )
    return found


def _check(board):
    names = [entry.name for entry in board.entries]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(
            f"rows must have different names. Received twice: {checks.shown(twice[0])}"
        )
    if not board.radii():
        raise ValueError(
            "rows are ranked by what attacks in l2 balls reach, and the protocol has none. Add one:"
            " attacks: [{name: suite, sizes: [1.5, 2.5, 3.5]}]."
        )


def _missing(board):
    """The rows that every board has and this one does not name, as a list of `Entry`."""
    there = set()
    for entry in board.entries:
        if not entry.config.defence.is_named:
            there.add(entry.config.model.name)
    names = {entry.name for entry in board.entries}
    found = []
    for name, settings in _ALWAYS.items():
        if name in there:
            continue
        if name in names:
            raise ValueError(f"the name {name} is that of a model. Name that row otherwise.")
        config = configs.load(settings={"model": {"name": name, **settings}})
        about = {**dict.fromkeys(ABOUT, ""), "note": "Every board has this row."}
        found.append(Entry(name, _under(board.protocol, config), about))
    return found

"""A YAML file as keys and texts, without any of YAML's own guesses, and back.

In YAML 1.1 a patient 010 is 8, 12:30 is 750 and `no` is false. Here every value is the text that is
written, or a list of texts. What YAML would lose of a text, or take for something else, is an
error.
"""

import re
from typing import NamedTuple

import yaml

from tfvn import checks

__all__ = ["DEEPEST", "Entry", "read", "written"]

# Bytes of a configuration file, which takes 5 kB with every key in it.
_LARGEST_FILE = 2**17
# A section inside a section of the file, and its keys.
DEEPEST = 3
_COMMENT = re.compile(r"[ \t]+(#[^\s#]\S*)")


class Entry(NamedTuple):
    """One value of the file.

    path: the keys that lead to it, a tuple of texts. In a list of sections the number of a section
        stands in it.
    value: the text behind the colon or a list of texts; an empty dict for braces without a key.
    line: where the key stands.
    comment: the text behind a value without quotes which may be a comment or part of the value: it
        begins with a # and no blank follows; "" if there is none.
    comment_line: where that stands.
    """

    path: tuple
    value: object
    line: int
    comment: str
    comment_line: int


def read(path):
    """The entries of a file, in a list.

    Raises:
        ValueError: for a file that is no mapping, and for a key that stands there twice. The
            message does not name the file.
        OSError: if it cannot be read.
    """
    with open(path, "rb") as file:
        content = file.read(_LARGEST_FILE + 1)
    if len(content) > _LARGEST_FILE:
        raise ValueError(
            f"expected a configuration of at most {_LARGEST_FILE} bytes. Received: a larger file"
        )
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"expected a text file in UTF-8. Received: other bytes, at position {error.start}"
        ) from error
    root = _compose(text)
    if root is None:
        return []
    if not isinstance(root, yaml.MappingNode):
        found = "a list"
        if isinstance(root, yaml.ScalarNode):
            found = checks.shown(root.value)
        raise ValueError(f"expected lines of 'key: value'. Received: {found}")
    return list(_entries(root, (), text))


class _TextLoader(yaml.SafeLoader):
    """Reads every value as the text that is written."""

    yaml_implicit_resolvers = {}

    def compose_node(self, parent, index):
        event = self.peek_event()
        is_alias = isinstance(event, yaml.AliasEvent)
        has_tag = not is_alias and event.tag not in (None, "tag:yaml.org,2002:str")
        if event.anchor or has_tag:
            raise ValueError(
                f"line {event.start_mark.line + 1}: put a text that begins with &, * or ! in"
                " quotes."
            )
        return super().compose_node(parent, index)


def _compose(text):
    """The nodes of a text."""
    try:
        return yaml.compose(text, _TextLoader)
    except RecursionError as error:
        raise ValueError(
            "expected lines of 'key: value'. Received: one inside the other, hundreds of times"
        ) from error
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        problem = " ".join(filter(None, (error.context, error.problem)))
        raise ValueError(
            f"line {line} is no YAML: {problem}. Put texts with special characters in quotes:"
            " 'a: b'."
        ) from error
    except yaml.reader.ReaderError as error:
        raise ValueError(
            f"expected a text file. Received: a control character, at position {error.position}"
        ) from error


def _entries(mapping, before, text):
    """Yields the entries of a section."""
    known = set()
    for key, value in mapping.value:
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode):
            raise ValueError(f"line {line}: a key is a text. Received: a list or a section")
        if "." in key.value:
            raise ValueError(
                f"line {line}: a key of a section stands below the section's name, and has no dot."
                f" Received: {checks.shown(key.value)}"
            )
        path = (*before, key.value)
        if key.value in known:
            raise ValueError(f"line {line}: given more than once: {'.'.join(map(str, path))}")
        known.add(key.value)
        if _has_keys(value):
            _check_depth(path, line)
            yield from _entries(value, path, text)
        elif _is_list_of_sections(value):
            for number, item in enumerate(value.value):
                yield from _item(item, (*path, number), text)
        else:
            yield _entry(path, value, line, text)


def _has_keys(node):
    return isinstance(node, yaml.MappingNode) and bool(node.value)


def _check_depth(path, line):
    if len(path) < DEEPEST:
        return
    *above, key = path
    hint = ""
    if isinstance(above[-1], int):
        hint = f" A section of a list tells its name by a key: '- name: {key}'."
    raise ValueError(
        f"line {line}: expected a value. Received: a section, {checks.shown(key)}.{hint}"
    )


def _is_list_of_sections(node):
    if not isinstance(node, yaml.SequenceNode):
        return False
    return any(isinstance(item, yaml.MappingNode) for item in node.value)


def _item(node, path, text):
    """Yields the entries of one of several sections; a text alone is its name."""
    line = node.start_mark.line + 1
    if _has_keys(node):
        yield from _entries(node, path, text)
    elif isinstance(node, yaml.SequenceNode):
        raise ValueError(f"line {line}: expected a section or a name. Received: a list")
    else:
        yield _entry(path, node, line, text)


def _entry(path, value, line, text):
    comment = None
    is_plain = isinstance(value, yaml.ScalarNode) and not value.style
    if is_plain:
        comment = _COMMENT.match(text, value.end_mark.index)
    return Entry(
        path,
        _value(value, line),
        line,
        comment[1] if comment else "",
        value.end_mark.line + 1,
    )


def _value(node, line):
    """What is written at a node: a text or a list of texts, or nothing in braces."""
    if isinstance(node, yaml.MappingNode):
        return {}
    if isinstance(node, yaml.ScalarNode):
        return node.value
    for item in node.value:
        if not isinstance(item, yaml.ScalarNode):
            raise ValueError(f"line {line}: expected a list of values. Received: a list of lists")
    return [item.value for item in node.value]


def written(tree, only_texts=False):
    """A dict of sections as YAML. Lists of values stand in one line each.

    Args:
        tree: the dict.
        only_texts: whether all values are texts of a file. Then they are written as they were,
            and stand in quotes only where YAML needs them.
    """
    dumper = _TextDumper if only_texts else _Dumper
    # In one line each, however long.
    return yaml.dump(
        tree,
        Dumper=dumper,
        sort_keys=False,
        allow_unicode=True,
        width=float("inf"),
        default_flow_style=False,
    )


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data):
        """Two equal lists are written twice: `read` takes no references."""
        return True

    def represent_sequence(self, tag, sequence, flow_style=None):
        is_short = not any(isinstance(item, dict) for item in sequence)
        return super().represent_sequence(tag, sequence, is_short)


class _TextDumper(_Dumper):
    yaml_implicit_resolvers = {}

"""The directive `configuration-keys`: all keys of a configuration, in tables by section.

Everything in the tables comes from the constructors, through `tfvn.config.SECTIONS`.
"""

import inspect
import re

from sphinx.util.docutils import SphinxDirective

from tfvn import config
from tfvn.drafts import SEED
from tfvn.settings import REQUIRED


class ConfigurationKeys(SphinxDirective):
    """Headings of the sections, and tables of their keys below them."""

    def run(self):
        # Sphinx does not see that a constructor has changed.
        self.env.note_reread()
        return self.parse_text_to_nodes("\n".join(tables()), allow_section_headings=True)


def tables():
    """Lines of Markdown: a heading for each section, and tables of its keys."""
    lines = ["One key stands beside the sections:", "", *_table([SEED])]
    for section in config.SECTIONS.values():
        for inner in (section, *section.inside.values()):
            lines += ["", *_lines_of(inner)]
    return lines


def _lines_of(section):
    """A heading, what the section is, and a table for each group of its keys."""
    lines = [f"## {section.place}", "", f"{_told(_capital(section.meaning))}.", ""]
    groups = section.groups()
    for group in groups:
        if group.name:
            lines += [f"### {group.title}", "", _about(section, group), ""]
        elif len(groups) > 1:
            lines += ["These keys are there with every name:", ""]
        if group.keys:
            lines += [*_table(group.keys), ""]
    return lines


def _about(section, group):
    """What a name stands for, with a link to the class."""
    sentences = []
    if group.name == section.default:
        sentences.append("This is the default.")
    if group.name in section.table:
        maker = section.table[group.name]
        summary, *_ = inspect.getdoc(maker).split("\n\n")
        sentences.append(_told(" ".join(summary.split())))
        sentences.append(f"See {{py:class}}`{maker.__module__}.{maker.__qualname__}`.")
        if not group.keys:
            sentences.append("It has no keys.")
    else:
        sentences.append(f"There is no {section.place}.")
    return " ".join(sentences)


def _capital(text):
    return text[:1].upper() + text[1:]


def _table(keys):
    lines = ["| key | default | meaning |", "| --- | --- | --- |"]
    for key in keys:
        lines.append(f"| `{key.name}` | {_default(key)} | {_told(key.meaning)} |")
    return lines


def _default(key):
    if key.default is REQUIRED:
        return "must be given"
    if not key.written:
        return "empty"
    return f"`{key.written}`"


def _told(text):
    """Text of a docstring in Markdown. What is in backticks stays, but for the bars of tables."""
    parts = re.split(r"(`[^`]*`)", text)
    for number in range(0, len(parts), 2):
        parts[number] = re.sub(r"([\\*_<>\[\]])", r"\\\1", parts[number])
    return "".join(parts).replace("|", r"\|")


def setup(app):
    app.add_directive("configuration-keys", ConfigurationKeys)

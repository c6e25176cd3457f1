"""Sphinx settings: pages in Markdown, the reference from docstrings, formulas as MathML. `make
docs` builds docs/_build/html.

Nothing on the built pages is fetched from elsewhere.
"""

import os
import re
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# For the directive beside this file, and for the package.
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml

import tfvn

project = "tfvn"
version = release = tfvn.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
extensions += ["configuration_keys"]
# Boards are pages of their own.
exclude_patterns = ["_build", "leaderboard"]
html_theme = "furo"
html_title = f"tfvn {release}"
html_static_path = ["_static"]
html_css_files = ["tfvn.css"]
html_math_renderer = "mathml"
html_copy_source = False
html_show_copyright = False
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3

# Single backticks in docstrings are code.
default_role = "code"
# Formulas and messages, not programs, stand in literal blocks; quotes stay as they are typed.
highlight_language = "none"
smartquotes = False
autodoc_member_order = "bysource"
autodoc_typehints = "none"
autodoc_inherit_docstrings = False
napoleon_use_rtype = False
napoleon_custom_sections = [("Call arguments", "params_style")]
# Bases of our classes; no inventory of other projects is fetched to link to them.
nitpick_ignore_regex = [
    ("py:class", r"(keras|numpy|tensorflow|tf_keras)\..*"),
    ("py:exc", r"zlib\.error"),
    # The default of an argument that has none.
    ("py:class", r"inspect\._empty"),
]


def _show_docstring(app, what, name, obj, options, lines):
    """Docstrings are written to be read as they are. To reStructuredText their formulas become
    literal blocks, and the fields of a NamedTuple a list.
    """
    del app, name, options
    if what == "class" and hasattr(obj, "_fields"):
        lines[:] = _listed_fields(lines)
    result, section, literal, item = [], False, False, False
    for number, line in enumerate(lines):
        indented = line.startswith(" ")
        after_blank = number == 0 or not lines[number - 1].strip()
        if line and not indented:
            literal = False
            item = line.startswith("* ")
            below = "".join(lines[number + 1 : number + 2])
            section = line.endswith(":") and below.startswith(" ")
        if indented and after_blank and not section and not literal and not item:
            result += ["::", ""]
            literal = True
        result.append(line if literal else _escaped(line))
    if what in ("property", "attribute"):
        # Napoleon takes what stands before a colon in the first line for a type. An empty comment
        # has none.
        result[:0] = ["..", ""]
    lines[:] = result


def _listed_fields(lines):
    """The lines `field: meaning` of a NamedTuple's docstring, as items of a list."""
    found, inside = [], False
    for line in lines:
        field = re.match(r"(\w+(?:, \w+)*): (.*)", line)
        if field:
            inside = True
            found.append(f"* `{field[1]}`: {field[2]}")
        elif inside and line.startswith(" "):
            found.append(f"  {line.strip()}")
        else:
            inside = False
            found.append(line)
    return found


def _escaped(line):
    """A line of which bars are norms and stars products. What is in backticks stays."""
    bullet = re.match(r" *\* ", line)
    begin = bullet[0] if bullet else ""
    parts = re.split(r"(`[^`]*`)", line[len(begin) :])
    # Code ends before a letter only where that is said: `Stage`s.
    for number in range(1, len(parts), 2):
        if parts[number + 1][:1].isalnum():
            parts[number] += "\\ "
    for number in range(0, len(parts), 2):
        parts[number] = re.sub(r"([|*])", r"\\\1", parts[number])
    return begin + "".join(parts)


def _skip_member(app, what, name, obj, skip, options):
    """What has no text of its own.

    The fields of a NamedTuple are described in its docstring; Python adds only their number. A type
    as the value of an attribute brings that of the type.
    """
    del app, what, name, options
    if obj in (int, float):
        return True
    if (getattr(obj, "__doc__", None) or "").startswith("Alias for field number"):
        return True
    return skip


def setup(app):
    def visit(as_block):
        def visit_formula(translator, node):
            translator.body.append(tex2mathml(node.astext(), as_block=as_block))
            raise nodes.SkipNode

        return visit_formula

    app.add_html_math_renderer("mathml", (visit(False), None), (visit(True), None))
    # Before napoleon, which reads the sections.
    app.connect("autodoc-process-docstring", _show_docstring, priority=400)
    app.connect("autodoc-skip-member", _skip_member)

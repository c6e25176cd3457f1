"""How dense the code may be, measured: a page of it should be read once, from top to bottom."""

import ast
import io
import tokenize
from pathlib import Path

import pytest

import tfvn

ROOT = Path(tfvn.__file__).resolve().parent
SOURCES = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for path in sorted(ROOT.rglob("*.py"))
}
TREES = {name: ast.parse(text) for name, text in SOURCES.items()}
LINES_OF_A_FILE = 400
LINES_OF_A_FUNCTION = 50
NESTING = 4
TOKENS_PER_LINE = 9
INLINE_IFS_PER_1000_LINES = 12

COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
BLOCKS = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.With, ast.AsyncWith, ast.Try)
# What the tokenizer reports beside code.
LAYOUT = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
}


def functions(tree):
    return [node for node in ast.walk(tree) if isinstance(node, FUNCTIONS)]


def nested_comprehensions(tree):
    """The lines on which a comprehension holds another."""
    lines = []
    for node in ast.walk(tree):
        if not isinstance(node, COMPREHENSIONS):
            continue
        inside = [inner for inner in ast.walk(node) if isinstance(inner, COMPREHENSIONS)]
        if len(inside) > 1:
            lines.append(node.lineno)
    return lines


def length(function):
    """Lines of a function's body, its docstring apart."""
    body = function.body
    if ast.get_docstring(function) is not None:
        body = body[1:]
    if not body:
        return 0
    return body[-1].end_lineno - body[0].lineno + 1


def nesting(statements):
    """How many blocks are inside each other at most; functions and classes inside count anew."""
    deepest = 0
    for statement in statements:
        for block in blocks(statement):
            deepest = max(deepest, 1 + nesting(block))
    return deepest


def blocks(statement):
    """The lists of statements that stand one level below a statement."""
    if not isinstance(statement, BLOCKS):
        return []
    found = [statement.body]
    for handler in getattr(statement, "handlers", []):
        found.append(handler.body)
    found.append(getattr(statement, "finalbody", []))
    other = getattr(statement, "orelse", [])
    if isinstance(statement, ast.If) and len(other) == 1 and isinstance(other[0], ast.If):
        # An `elif` stands beside its `if`.
        return found + blocks(other[0])
    found.append(other)
    return found


def code(text):
    """The number of tokens, and of lines that have any. Docstrings are no code."""
    tokens = 0
    lines = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        prose = token.type == tokenize.STRING and token.string.startswith('"""')
        if token.type not in LAYOUT and not prose:
            tokens += 1
            lines.add(token.start[0])
    return tokens, len(lines)


each_file = pytest.mark.parametrize("name", SOURCES)


@each_file
def test_no_comprehension_holds_another(name):
    assert nested_comprehensions(TREES[name]) == []


@each_file
def test_a_file_is_short(name):
    assert len(SOURCES[name].splitlines()) < LINES_OF_A_FILE


@each_file
def test_functions_are_short(name):
    found = functions(TREES[name])
    assert [each.name for each in found if length(each) > LINES_OF_A_FUNCTION] == []


@each_file
def test_blocks_are_not_deep(name):
    found = functions(TREES[name])
    assert [each.name for each in found if nesting(each.body) > NESTING] == []


def test_a_line_of_code_holds_one_thought():
    counts = [code(text) for text in SOURCES.values()]
    tokens = sum(count for count, _ in counts)
    lines = sum(count for _, count in counts)
    assert tokens < TOKENS_PER_LINE * lines


def test_inline_ifs_are_rare():
    lines = sum(code(text)[1] for text in SOURCES.values())
    nodes = [node for tree in TREES.values() for node in ast.walk(tree)]
    inline = sum(isinstance(node, ast.IfExp) for node in nodes)
    assert 1000 * inline <= INLINE_IFS_PER_1000_LINES * lines


# The measures themselves

SAMPLE = '''
def outer(rows):
    """Two lines of
    prose."""
    for row in rows:
        if row:
            pass
        elif rows:
            with row:
                pass
        else:
            pass
    try:
        return [[cell for cell in row] for row in rows]
    except ValueError:
        while rows:
            def inner():
                if rows:
                    return 1 if rows else 2
'''


def test_the_measures_measure():
    tree = ast.parse(SAMPLE)
    outer, inner = functions(tree)
    assert nested_comprehensions(tree) == [14]
    assert (length(outer), length(inner)) == (15, 2)
    assert (nesting(outer.body), nesting(inner.body)) == (3, 1)
    assert code("a = 1  # one\n\n'''x'''\n\"\"\"prose\"\"\"\n") == (4, 2)

"""The house rule of CONTRIBUTING.md: a file imports only from lower levels, or from its own
package.
"""

import ast
from pathlib import Path

import pytest

import tfvn

ROOT = Path(tfvn.__file__).resolve().parent
LEVELS = {
    "checks": -4,
    **dict.fromkeys(["choices", "network_size", "ranges", "yaml_text"], -3),
    **dict.fromkeys(["settings", "first_edition"], -2),
    **dict.fromkeys(["files", "parts", "provenance", "tables"], -1),
    **dict.fromkeys(["compat", "drafts", "projections", "metrics", "certificates"], 0),
    **dict.fromkeys(["device", "gradients", "progress", "replicas", "shapes"], 0),
    **dict.fromkeys(["cluster", "surroundings", "workers"], 0),
    "physics": 1,
    "data": 2,
    "models": 3,
    **dict.fromkeys(["attacks", "defences", "figures"], 4),
    "training": 5,
    "sections": 6,
    "config": 7,
    "runs": 8,
    "results": 9,
    **dict.fromkeys(["tools", "cli"], 10),
    "paper": 11,
    "leaderboard": 12,
    "commands": 13,
    "__main__": 14,
}
# The package's own __init__ stands above all.
FILES = sorted(path for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py")


def unit(path):
    """The name under which a file is listed above: its own, or that of its package."""
    return path.relative_to(ROOT).with_suffix("").parts[0]


def imported_units(path):
    """The names, as listed above, of everything of this package that a file imports, inside
    functions too.
    """
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, (
                f"{path.name}, line {node.lineno}: write imports in full, from tfvn..."
            )
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            parts = name.split(".")
            assert parts[0] != "tfvn" or len(parts) > 1, (
                f"{path.name}, line {node.lineno}: name what is imported of tfvn"
            )
            if parts[0] == "tfvn":
                found.add(parts[1])
    return found


@pytest.mark.parametrize("path", FILES, ids=[str(path.relative_to(ROOT)) for path in FILES])
def test_a_file_imports_only_from_lower_levels(path):
    own = unit(path)
    assert own in LEVELS, f"{path.name} has no level. Give it one here."
    for other in sorted(imported_units(path) - {own}):
        assert other in LEVELS, f"{path.name} imports tfvn.{other}, which has no level."
        assert LEVELS[other] < LEVELS[own], (
            f"{path.name} (level {LEVELS[own]}) imports tfvn.{other} (level {LEVELS[other]}). "
            "A file imports only from lower levels."
        )


@pytest.mark.parametrize("path", FILES, ids=[str(path.relative_to(ROOT)) for path in FILES])
def test_only_compat_imports_tensorflow_addons_and_nothing_imports_keras_itself(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        modules += [node.module] if isinstance(node, ast.ImportFrom) else []
        for module in modules:
            top = module.split(".")[0]
            assert top != "keras", f"{path.name}: write `from tensorflow import keras`"
            assert top != "tensorflow_addons" or path.name == "compat.py", (
                f"{path.name}: tensorflow-addons belongs in compat.py"
            )

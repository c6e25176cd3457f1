"""What the modules of the package offer by name."""

import importlib
from pathlib import Path

import pytest

import tfvn

ROOT = Path(tfvn.__file__).resolve().parent
PATHS = sorted(
    path for path in ROOT.rglob("*.py") if path.stem != "__main__" and path != ROOT / "__init__.py"
)


def module(path):
    name = ".".join(("tfvn", *path.relative_to(ROOT).with_suffix("").parts))
    return importlib.import_module(name.removesuffix(".__init__"))


each_module = pytest.mark.parametrize(
    "path", PATHS, ids=[str(path.relative_to(ROOT)) for path in PATHS]
)


@each_module
def test_a_module_lists_its_public_names_and_has_them(path):
    found = module(path)
    assert list(found.__all__), path
    assert len(set(found.__all__)) == len(found.__all__)
    for name in found.__all__:
        assert not name.startswith("_")
        assert hasattr(found, name), name


@each_module
def test_every_public_function_and_class_of_a_module_is_in_its_list(path):
    # What comes from elsewhere is listed by the packages alone.
    found = module(path)
    own = [
        name
        for name, value in vars(found).items()
        if not name.startswith("_")
        and callable(value)
        and getattr(value, "__module__", None) == found.__name__
    ]
    assert set(own) <= set(found.__all__)

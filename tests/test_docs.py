"""The documentation says what is there: its names, keys, flags, paths and links exist, its Python and its tutorial run."""
import importlib
import re
import shlex
import shutil
from pathlib import Path

import pytest

import attack
import evaluate
import tfvn
import train

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted(ROOT.glob("*.md")) + sorted(path for path in (ROOT / "docs").rglob("*.md") if "_build" not in path.parts)
SCRIPTS = {"train.py": train, "attack.py": attack, "evaluate.py": evaluate}
# The tutorial's networks and data, as small as they go.
STAMP = {"height=96, width=72, num_coils=8": "height=32, width=24, num_coils=4", "range(1, 9), range(11, 16)": "[1], [11, 12]"}
SMALL = [
    "num_stages=2", "filters=4", "kernel_size=5", "num_centers=11", "iterations=2", "checkpoint_every=2", "batch_size=2",
    "train_patients=1", "train_slices=11-12", "test_patients=11", "num_samples=2", "attack_steps=2", "attack_radii=1.5",
]  # fmt: skip

each_page = pytest.mark.parametrize("path", PAGES, ids=[str(path.relative_to(ROOT)) for path in PAGES])


def blocks(text):
    """(language, content) of the code blocks."""
    return re.findall(r"^```(\S*)\n(.*?)^```$", text, re.M | re.S)


def commands(text):
    """Of every shell line that calls Python: (what, arguments). Comments are dropped."""
    lines = [line for language, block in blocks(text) if language == "" for line in block.splitlines()]
    words = [shlex.split(line, comments=True) for line in lines if line.startswith(".venv/bin/python ")]
    return [(f"-m {line[2]}", line[3:]) if line[1] == "-m" else (line[1], line[2:]) for line in words]


def overrides(arguments):
    """What follows each --set."""
    found, inside = [], False
    for word in arguments:
        inside = word == "--set" if word.startswith("--") else inside
        if inside and word != "--set":
            found.append(word)
    return found


@each_page
def test_links_lead_to_files(path):
    for link in re.findall(r"\]\(([^)\s]+)\)", path.read_text(encoding="utf-8")):
        if not link.startswith(("http://", "https://", "#")):
            assert (path.parent / link.partition("#")[0]).exists(), link


@each_page
def test_paths_in_the_text_exist(path):
    text = path.read_text(encoding="utf-8")
    for name in re.findall(r"`((?:configs|docs|tests|tfvn|benchmarks)/[\w./-]+)`", text):
        assert (ROOT / name).exists() or "_build" in name, name


@each_page
def test_names_of_the_package_exist(path):
    for name in sorted(set(re.findall(r"\btfvn(?:\.[A-Za-z_]\w*)+", path.read_text(encoding="utf-8")))):
        first, *rest = name.split(".")
        found = importlib.import_module(first)
        for part in rest:
            if not hasattr(found, part):
                found = importlib.import_module(f"{found.__name__}.{part}")
            else:
                found = getattr(found, part)


@each_page
def test_commands_have_these_flags_and_keys(path, capsys):
    text = path.read_text(encoding="utf-8")
    for target in re.findall(r"^make (\w+)", "\n".join(block for language, block in blocks(text) if language == ""), re.M):
        assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.M), f"make {target}"
    for what, arguments in commands(text):
        main = SCRIPTS[what].main if what in SCRIPTS else module_main(what)
        if main is None:
            continue
        with pytest.raises(SystemExit) as ended:
            # `python -m tfvn` has commands of its own, each with its flags.
            main([*(arguments[:1] if what == "-m tfvn" else []), "--help"])
        assert ended.value.code == 0
        known = set(re.findall(r"--[a-z][\w-]*", capsys.readouterr().out))
        assert {word for word in arguments if word.startswith("--")} <= known, arguments
        config = arguments[arguments.index("--config") + 1] if "--config" in arguments else None
        # What a run wrote is not here.
        tfvn.config.load(ROOT / config if config and config.startswith("configs/") else None, overrides(arguments))


def module_main(what):
    """`main` of a module or package of ours that is called with -m; None of any other."""
    assert what.startswith("-m "), what
    name = what[3:]
    return importlib.import_module(f"{name}.__main__" if name == "tfvn" else name).main if name.startswith("tfvn") else None


@pytest.fixture(scope="module")
def words_of_code():
    files = [*ROOT.glob("*.py"), ROOT / "Makefile", *(ROOT / "configs").rglob("*.yaml")]
    files += [file for folder in ("tfvn", "tests", "benchmarks") for file in (ROOT / folder).rglob("*.py")]
    return set(re.findall(r"\w+", "\n".join(file.read_text(encoding="utf-8") for file in files)))


@each_page
def test_words_set_as_code_occur_in_the_code(path, words_of_code):
    text = re.sub(r"^```.*?^```$", "", path.read_text(encoding="utf-8"), flags=re.M | re.S)
    assert not set(re.findall(r"`(\w+)`", text)) - words_of_code


def test_every_module_is_in_the_reference():
    listed = re.findall(r"automodule:: (\S+)", "".join(p.read_text(encoding="utf-8") for p in (ROOT / "docs" / "api").glob("*.md")))
    files = [path.relative_to(ROOT).with_suffix("") for path in (ROOT / "tfvn").rglob("*.py")]
    modules = [".".join(path.parts).removesuffix(".__init__") for path in files]
    assert sorted(listed) == sorted(set(modules) - {"tfvn"})


@pytest.fixture(scope="module")
def tutorial(tmp_path_factory):
    """A folder in which the tutorial was followed from the first line to the last, as small as it goes."""
    folder = tmp_path_factory.mktemp("tutorial")
    shutil.copytree(ROOT / "configs", folder / "configs")
    text = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
    for large, small in STAMP.items():
        assert large in text
        text = text.replace(large, small)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for language, block in blocks(text):
            if language == "python":
                # Each stands alone: there are commands between them.
                exec(compile(block, "docs/tutorial.md", "exec"), {})
            for what, arguments in commands(f"```\n{block}```") if language == "" else []:
                small = ["--set", *SMALL] if what == "train.py" else []
                assert SCRIPTS[what].main([*arguments, *small]) == 0, arguments
    return folder


@pytest.mark.slow
def test_the_tutorial_can_be_followed(tutorial):
    assert (tutorial / "runs/tutorial/original/results/table1.md").exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", [str(p.relative_to(ROOT)) for p in PAGES if "```python" in p.read_text() and p.stem != "tutorial"])
def test_python_on_the_pages_runs(name, tutorial, monkeypatch):
    monkeypatch.chdir(tutorial)
    text = (ROOT / name).read_text(encoding="utf-8")
    # The demo's networks take minutes: the tutorial's stand in for them.
    text = re.sub(r"configs/demo/[\w.]+\.yaml", "runs/tutorial/original/config.yaml", text)
    text = re.sub(r"runs/demo/[\w.]+/", "runs/tutorial/original/", text)
    text = text.replace("num_samples=32", "num_samples=2")
    names = {}
    for block in (block for language, block in blocks(text) if language == "python"):
        exec(compile(block, name, "exec"), names)

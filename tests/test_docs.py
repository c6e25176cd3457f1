"""The documentation says what is there: its names, keys, flags, paths and links exist, and its
pages can be followed.
"""

import contextlib
import functools
import importlib
import importlib.util
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import processes
import pytest
from conftest import DATA

import attack
import evaluate
import tfvn
import train
from tfvn import compat
from tfvn.drafts import all_keys
from tfvn.leaderboard import board

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted(ROOT.glob("*.md")) + sorted(
    path for path in (ROOT / "docs").rglob("*.md") if "_build" not in path.parts
)
SCRIPTS = {"train.py": train, "attack.py": attack, "evaluate.py": evaluate}
# Networks, data and attacks of the pages, as small as they go: of fewer lines than these, 15 % are
# not enough for coil maps.
STAMP = {
    "height=96, width=72, num_coils=8": "height=32, width=72, num_coils=4",
    "range(1, 9), range(11, 16)": "[1], [11, 12]",
    "num_samples=32": "num_samples=2",
    "Ascent(steps=20": "Ascent(steps=2",
    "Ascent(steps=30": "Ascent(steps=2",
}
SMALL = [
    "model.num_stages=1",
    "model.filters=4",
    "model.kernel_size=5",
    "model.num_centers=11",
    "model.iterations=3",
    "training.iterations=2",
    "training.checkpoint_every=2",
    "training.batch_size=2",
    "data.train_patients=1",
    "data.train_slices=11-12",
    "data.test_patients=11",
    "defence.num_samples=2",
    "attacks.ascent.steps=2",
    "attacks.ascent.sizes=1.5",
]

each_page = pytest.mark.parametrize(
    "path", PAGES, ids=[str(path.relative_to(ROOT)) for path in PAGES]
)


def blocks(text):
    """(language, content) of the code blocks."""
    return re.findall(r"^```(\S*)\n(.*?)^```$", text, re.M | re.S)


def commands(text):
    """Of every shell line that calls Python: (what, arguments). Comments are dropped."""
    lines = [
        line for language, block in blocks(text) if language == "" for line in block.splitlines()
    ]
    words = [
        shlex.split(line, comments=True) for line in lines if line.startswith(".venv/bin/python ")
    ]
    return [called(line[1:]) for line in words]


def called(words):
    """(what, arguments) of what stands behind the name of Python."""
    return (f"-m {words[1]}", words[2:]) if words[0] == "-m" else (words[0], words[1:])


def long_commands(text):
    """The same of the blocks of jobs that nobody waits for, in which there are loops and variables.
    A shell tells what it would call.
    """
    scripts = [block for language, block in blocks(text) if language == "sh"]
    tell = r"""told() { printf '%s\0' "$@"; echo; }"""
    script = "\n".join([tell, *scripts]).replace(".venv/bin/python ", "told ")
    # It finds no program, and may neither name one by its path nor write a file.
    told = subprocess.run(
        ["/bin/bash", "-r", "-c", script],
        env={"PATH": os.devnull},
        capture_output=True,
        text=True,
        check=False,
    )
    return [called(line.split("\0")[:-1]) for line in told.stdout.splitlines()]


@functools.cache
def help_of(what, command):
    """What a program says of its flags, and a command of it if there is one."""
    main = SCRIPTS[what].main if what in SCRIPTS else module_main(what)
    if main is None:
        return None
    text = io.StringIO()
    with contextlib.redirect_stdout(text), pytest.raises(SystemExit) as ended:
        main([*command, "--help"])
    assert ended.value.code == 0
    return text.getvalue()


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
    for name in sorted(
        set(re.findall(r"\btfvn(?:\.[A-Za-z_]\w*)+", path.read_text(encoding="utf-8")))
    ):
        first, *rest = name.split(".")
        found = importlib.import_module(first)
        for part in rest:
            if not hasattr(found, part):
                found = importlib.import_module(f"{found.__name__}.{part}")
            else:
                found = getattr(found, part)


@each_page
def test_commands_have_these_flags_and_keys(path):
    text = path.read_text(encoding="utf-8")
    shell = "\n".join(block for language, block in blocks(text) if language in ("", "sh"))
    for target in re.findall(r"^make (\w+)", shell, re.M):
        assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.M), f"make {target}"
    for what, arguments in [*commands(text), *long_commands(text)]:
        # `python -m tfvn` has commands of its own, each with its flags.
        told = help_of(what, tuple(arguments[:1] if what == "-m tfvn" else ()))
        if told is None:
            continue
        known = set(re.findall(r"--[a-z][\w-]*", told))
        assert {word for word in arguments if word.startswith("--")} <= known, arguments
        for word in arguments:
            assert not word.startswith("configs/") or (ROOT / word).exists(), word
        tfvn.config.load(configuration_of(what, arguments), overrides(arguments))


def test_loops_and_variables_of_long_jobs_are_those_of_a_shell():
    block = """```sh
scan="data.format=measurement data.path='x y'"
for pair in unet:200 modl:60; do
  name=${pair%:*}
  .venv/bin/python train.py --run-dir runs/$name --set $scan training.iterations=${pair#*:}   # long
done
rm -r runs
.venv/bin/python -m tfvn leaderboard "a b.yaml"
```
"""
    first = ["--run-dir", "runs/unet", "--set", "data.format=measurement"]
    found = long_commands(block)
    assert [what for what, _ in found] == ["train.py", "train.py", "-m tfvn"]
    assert found[0][1][:4] == first and found[0][1][-1] == "training.iterations=200"
    assert found[1][1][1] == "runs/modl" and found[2][1] == ["leaderboard", "a b.yaml"]


def configuration_of(what, arguments):
    """The configuration of a command, as far as it is here; None for the defaults."""
    if what == "-m tfvn.paper":
        return ROOT / "configs/knee/sigma_0.05.yaml"
    given = arguments[arguments.index("--config") + 1] if "--config" in arguments else ""
    # What a run wrote is not here.
    return ROOT / given if given.startswith("configs/") else None


@each_page
def test_configurations_in_the_text_can_be_read(path, tmp_path):
    # A board names configurations beside its folder.
    (tmp_path / "models").symlink_to(ROOT / "configs/models")
    (tmp_path / "leaderboard").mkdir()
    for language, block in blocks(path.read_text(encoding="utf-8")):
        if language == "yaml":
            page = tmp_path / "leaderboard" / "page.yaml"
            page.write_text(block, encoding="utf-8")
            is_board = "\nrows:" in block
            (board.read if is_board else tfvn.config.load)(page)


def test_the_readme_shows_the_configuration_of_its_first_run(tmp_path):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    _, arguments = commands(text)[0]
    shown = [block for language, block in blocks(text) if language == "yaml"]
    (tmp_path / "shown.yaml").write_text(shown[0], encoding="utf-8")
    made = tfvn.config.load(ROOT / "configs/smoke.yaml", overrides(arguments))
    assert tfvn.config.load(tmp_path / "shown.yaml") == made


@each_page
def test_keys_in_the_text_exist(path):
    sections = tfvn.config.SECTIONS
    known = set(all_keys(sections)) | set(sections)
    known |= {f"attacks.{name}" for name in sections["attacks"].table}
    for section in sections.values():
        known |= {inner.place for inner in section.inside.values()}
    text = path.read_text(encoding="utf-8")
    pattern = rf"`((?:{'|'.join(sections)})\.[a-z_.]+)(?:=[^`]*)?`"
    # A file is no key.
    found = {key for key in re.findall(pattern, text) if not key.endswith(".keras")}
    assert not found - known


def test_all_keys_are_in_the_tables():
    pytest.importorskip("sphinx", reason="Sphinx is in the default environment alone")
    sys.path.insert(0, str(ROOT / "docs"))
    try:
        from configuration_keys import tables
    finally:
        sys.path.remove(str(ROOT / "docs"))
    rows = re.findall(r"^\| `(\w+)` \|", "\n".join(tables()), re.M)
    keys = [key.rpartition(".")[2] for key in all_keys(tfvn.config.SECTIONS)]
    assert set(keys) - set(rows) <= {"format", "mask", "name"}


def module_main(what):
    """`main` of a module or package of ours that is called with -m; None of any other."""
    assert what.startswith("-m "), what
    name = what[3:]
    if not name.startswith("tfvn"):
        return None
    if importlib.util.find_spec(name).submodule_search_locations:
        name = f"{name}.__main__"
    return importlib.import_module(name).main


@pytest.fixture(scope="module")
def words_of_code():
    files = [*ROOT.glob("*.py"), ROOT / "Makefile", *(ROOT / "configs").rglob("*.yaml")]
    files += (ROOT / "configs").rglob("*.csv")
    files += [
        file for folder in ("tfvn", "tests", "benchmarks") for file in (ROOT / folder).rglob("*.py")
    ]
    return set(re.findall(r"\w+", "\n".join(file.read_text(encoding="utf-8") for file in files)))


@each_page
def test_words_set_as_code_occur_in_the_code(path, words_of_code):
    text = re.sub(r"^```.*?^```$", "", path.read_text(encoding="utf-8"), flags=re.M | re.S)
    assert not set(re.findall(r"`(\w+)`", text)) - words_of_code


def test_every_module_is_in_the_reference():
    listed = re.findall(
        r"automodule:: (\S+)",
        "".join(p.read_text(encoding="utf-8") for p in (ROOT / "docs" / "api").glob("*.md")),
    )
    files = [path.relative_to(ROOT).with_suffix("") for path in (ROOT / "tfvn").rglob("*.py")]
    modules = [".".join(path.parts).removesuffix(".__init__") for path in files]
    assert sorted(listed) == sorted(set(modules) - {"tfvn"})


# In the order in which they are read: what one page makes, later ones use.
FOLLOWED = ["README.md", "docs/tutorial.md"]
FOLLOWED += [
    f"docs/{name}.md"
    for name in re.findall(
        r"^howto/\w+$", (ROOT / "docs/index.md").read_text(encoding="utf-8"), re.M
    )
]
FOLLOWED += ["docs/api/configuration.md", "CONTRIBUTING.md"]
ADDONS = {"training.optimizer=radam-lookahead", "training.optimizer=conditional-gradient"}
# Minutes each, with tests of their own: test_benchmarks.py and test_paper.py.
NOT_HERE = ("-m benchmarks", "-m benchmarks.optimizers", "-m tfvn.paper", "-m pytest")


def small_settings(arguments):
    """Those of SMALL that the configuration of a training has, and a quick optimizer."""
    if "--config" in arguments:
        path = arguments[arguments.index("--config") + 1]
    else:
        path = Path(arguments[arguments.index("--run-dir") + 1], "config.yaml")
    given = overrides(arguments)
    known = tfvn.config.load(path, given).flat()
    settings = [setting for setting in SMALL if setting.partition("=")[0] in known]
    named = any(word.startswith("training.optimizer") for word in given)
    if "training.optimizer.name" in known and not named:
        # A step of iPALM takes seconds to trace.
        settings.append("training.optimizer=adam")
    return settings


def smaller(what, arguments):
    """The arguments of a command, so that it takes seconds."""
    # The folder of the knee data, which is not here.
    arguments = [argument.replace("/data/knee", "runs/tutorial/knees") for argument in arguments]
    arguments = [argument.replace("antun.sizes=60,70", "antun.sizes=2,3") for argument in arguments]
    if "--tune" in arguments:
        arguments = [
            argument.replace("search.iterations=9", "search.iterations=2") for argument in arguments
        ]
        searched = ["search.method=bayesian", "search.trials=1"]
        searched += ["search.steps=2", "search.num_samples=2"]
        return [*arguments, "--set", *searched, *small_settings(arguments)]
    if arguments[:1] == ["certify"] and not {"--floor", "--dry-run"} & set(arguments):
        return [*arguments, "--num-draws", "5"]
    if what == "train.py":
        return [*arguments, "--set", *small_settings(arguments)]
    if "configs/brain.yaml" in arguments:
        return [*arguments, "--set", "attacks.ascent.steps=2", "attacks.ascent.sizes=1"]
    return arguments


def run_shell(block):
    several = []
    for what, arguments in commands(f"```\n{block}```"):
        if not DATA.is_dir() and "brain" in " ".join(arguments):
            continue
        arguments = smaller(what, arguments)
        if "--strategy" in arguments:
            several.append((what, arguments))
        elif what not in NOT_HERE:
            main = SCRIPTS[what].main if what in SCRIPTS else module_main(what)
            # The other stack has no tensorflow-addons, as the page says, and refuses these.
            refused = compat.KERAS_3 and ADDONS & set(arguments)
            assert main(arguments) == (2 if refused else 0), arguments
    if several:
        # Devices are split before TensorFlow computes anything: in a process of its own.
        calls = [f"{what.removesuffix('.py')}.main({arguments!r})" for what, arguments in several]
        code = f"""
import sys
import attack, conftest, evaluate, pytest, train
conftest.draw_pixels(pytest.MonkeyPatch())
sys.exit({" or ".join(calls)})
"""
        done = processes.run(code, as_traced=True)
        assert done.returncode == 0, done.stderr


def needs_torch(text):
    """Whether Python code needs PyTorch and cannot have it."""
    return "import torch" in text and importlib.util.find_spec("torch") is None


def run_python(name, text, names):
    for large, small in STAMP.items():
        text = text.replace(large, small)
    exec(compile(text, name, "exec"), names)


def make_demo():
    """Runs that stand for those of `make demo`, which take minutes: the tutorial's."""
    for name, made in {
        "original": "original",
        "sigma_0.05": "smoothed",
        "sigma_0.1": "smoothed",
    }.items():
        run_dir = Path("runs/demo", name)
        shutil.copytree(
            Path("runs/tutorial", made), run_dir, ignore=shutil.ignore_patterns("results")
        )
        shutil.copy(run_dir / "config.yaml", Path("configs/demo", f"{name}.yaml"))


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """The checkout as a newcomer has it, without its programs: they are run from here."""
    folder = tmp_path_factory.mktemp("followed")
    shutil.copytree(ROOT / "configs", folder / "main/configs")
    shutil.copy(ROOT / ".gitignore", folder / "main")
    if DATA.is_dir():
        (folder / "shared").symlink_to(DATA.parent)
    return folder / "main"


@pytest.fixture(scope="module")
def followed(project):
    """A function that follows the pages up to one, from their first line to the last, each once.
    It returns the pages of which something could not be followed.
    """
    left, left_out = list(FOLLOWED), set()
    # CONTRIBUTING.md adds classes of its own.
    tables = [tfvn.attacks.ATTACKS, tfvn.data.FORMATS, tfvn.defences.DEFENCES, tfvn.models.MODELS]
    tables.append(tfvn.certificates.CERTIFICATES)
    before = [dict(table) for table in tables]

    def follow(name):
        while name in left:
            page = left.pop(0)
            names = {}
            for language, block in blocks((ROOT / page).read_text(encoding="utf-8")):
                if language == "":
                    run_shell(block)
                elif language == "python" and needs_torch(block):
                    left_out.add(page)
                elif language == "python":
                    # In the tutorial each is typed into a Python of its own: there are commands
                    # between them.
                    run_python(page, block, {} if page == "docs/tutorial.md" else names)
            if page == "docs/tutorial.md":
                make_demo()
        return left_out

    yield follow
    for table, content in zip(tables, before):
        table.clear()
        table.update(content)


# Each page follows those before it, and all of them take a minute and more.
@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [FOLLOWED[0], *(pytest.param(x, marks=pytest.mark.slow) for x in FOLLOWED[1:])]
)
def test_the_pages_can_be_followed(name, followed, project, monkeypatch):
    monkeypatch.chdir(project)
    if name in followed(name):
        pytest.skip(f"all of {name} was followed but what needs PyTorch, which is not installed")


def test_all_pages_with_commands_are_followed():
    runs = [
        path
        for path in PAGES
        if commands(path.read_text(encoding="utf-8"))
        or "```python" in path.read_text(encoding="utf-8")
    ]
    assert {str(path.relative_to(ROOT)) for path in runs} <= set(FOLLOWED)


@pytest.mark.slow
def test_git_sees_nothing_of_what_the_pages_made(followed, project, monkeypatch):
    monkeypatch.chdir(project)
    followed(FOLLOWED[-1])
    subprocess.run(["git", "init", "--quiet"], check=True)
    status = subprocess.run(
        ["git", "status", "--porcelain", "-uall"], capture_output=True, text=True, check=True
    ).stdout
    assert [
        line for line in status.splitlines() if "configs/" not in line and ".gitignore" not in line
    ] == []
    assert Path("runs/tutorial/original/results/table1.md").exists()

import base64
import json
import re
import shutil
import zlib
from html.parser import HTMLParser

import h5py
import numpy as np
import pytest
from matplotlib.image import imsave

from tfvn import config, provenance, tables
from tfvn.results import aggregate, report, viewer, wording
from tfvn.results.charts import charts_of
from tfvn.results.rows import dataset_of

NASTY = "<img src=x onerror=\"document.title=1\"> & 'b'"
CLOSING = "</script><script>document.title='broken'</script>"
ATTACKS = [("l2", 1.0), ("l2", 2.5)]
# Of a model each, in turn.
CONFIGURATIONS = [
    config.load(settings={"data": {"format": "vlo", "path": CLOSING}}),
    config.load(
        settings={
            "seed": 1,
            "data": {"format": "vlo", "path": CLOSING},
            "sampling": {"mask": "random", "seed": 4},
            "defence": {"name": "smoothed", "sigma": 0.5},
            "attacks": [{"name": "ascent", "sizes": [1.0]}],
            "search": {"trials": 3},
        }
    ),
]


def row(model, index, attack, size, reference, rng):
    norm = {"none": 0.0, "antun": 0.3}.get(attack, size)
    needing_one = ("image_norm", "relative_radius", "rmse", "nrmse", "ssim", "psnr")
    keys = (*needing_one, "kspace_norm", "kspace_l1", "total_variation", "draw_norm")
    numbers = {key: float(rng.uniform(0.5, 1)) for key in keys}
    if not reference:
        numbers.update(dict.fromkeys(needing_one, float("nan")))
    return {
        "model": model,
        "slice": index,
        "attack": attack,
        "radius": float("nan") if attack == "antun" else size,
        "steps": size if attack == "antun" else float("nan"),
        "norm": norm,
        "effect": float(norm * rng.uniform(1, 2)),
        **numbers,
        **{"sigma": 0.0, "noise": "", "num_samples": 1, "seed": 0, "track": "deterministic"},
        **{"gradients": float("nan"), "missed": float("nan")},
    }


def arguments(
    folder, models=("first", NASTY), attacks=ATTACKS, reference=True, shape=(24, 20), slices=3
):
    """Arguments of `report.write` but the path, of made-up results in `folder`."""
    rng = np.random.default_rng(0)
    every = [("none", 0.0), *attacks]
    rows = [
        row(model, index, *attack, reference, rng)
        for model in models
        for index in range(slices)
        for attack in every
    ]
    table = aggregate.aggregate(rows)
    images_path = str(folder / "reconstructions.h5")
    with h5py.File(images_path, "w") as file:
        for index in range(slices):
            group = file.create_group(f"slices/slice_{index:05d}")
            group.attrs.update(name=f"{CLOSING} {index}", scale=1.0)
            for name in ("zero_filled", "reference")[: 1 + reference]:
                group[name] = rng.random(shape, np.float32)
        for model in models:
            file.create_group(f"models/{model}").attrs["model_hash"] = "5e" * 32
            for index in range(slices):
                for dataset in {dataset_of(one): None for one in rows}:
                    name = f"models/{model}/slice_{index:05d}/{dataset}"
                    file[name] = rng.random(shape, np.float32)
    figure_paths = [str(folder / f"figure{number}.png") for number in (1, 2, 3)]
    for path in figure_paths:
        imsave(path, rng.random((8, 8)))
    runs = []
    for number, model in enumerate(models):
        command = ["python", "a b.py", CLOSING]
        runs.append(report.Run(model, f"runs/{CLOSING}", CONFIGURATIONS[number % 2], [command]))
    labelled = [{**one, "dataset": dataset_of(one)} for one in rows]
    return [
        labelled,
        wording.labels_of(table),
        wording.tables(table),
        runs,
        images_path,
        figure_paths,
        [CLOSING],
    ]


PAGES = {
    "two models": {},
    "nothing to compare with": dict(models=("alone",), attacks=[], reference=False, slices=1),
    "twelve models": dict(models=[f"model_{number}" for number in range(12)], slices=1),
    "no truth": dict(models=("a", "b"), reference=False),
    "all attacks": dict(
        attacks=[*ATTACKS, ("l1", 20.0), ("linf", 0.02), ("antun", 2), ("antun", 5)]
    ),
}


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """The written report of each of `PAGES`, by name."""
    found = {}
    for name, settings in PAGES.items():
        folder = tmp_path_factory.mktemp("report")
        found[name] = folder / "report.html"
        report.write(found[name], *arguments(folder, **settings))
    return found


class Page(HTMLParser):
    """What a browser's parser makes of a page: elements as (tag, attributes), the text of scripts,
    other text.
    """

    def __init__(self, path):
        super().__init__()
        self.elements, self.scripts, self.text, self.open = [], [], "", None
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self.open = tag

    def handle_endtag(self, tag):
        self.open = None

    def handle_data(self, data):
        if self.open == "script":
            self.scripts.append(data)
        elif self.open != "style":
            self.text += data

    def all(self, tag):
        return [attributes for other, attributes in self.elements if other == tag]


def table(*columns):
    """A `report.Table` of columns (best, cells)."""
    lines = [
        [str(n) for n in range(len(columns))],
        *(list(line) for line in zip(*(cells for _, cells in columns))),
    ]
    return tables.Table("title", lines, tuple(best for best, _ in columns))


@pytest.mark.parametrize(
    "best, cells, marked",
    [
        ("lowest", ["8.70", "10.1", "8.71"], [0]),
        ("highest", ["8.70", "10.1", "8.71"], [1]),
        ("lowest", ["10.7", "10.7", "12"], [0, 1]),
        ("lowest", ["-", "3", "4"], [1]),
        ("lowest", ["3", "3"], []),
        ("lowest", ["3"], []),
        ("highest", ["-", "-"], []),
        ("", ["1", "2"], []),
    ],
)
def test_the_best_of_a_column_is_that_of_the_digits_shown(best, cells, marked):
    shown = report.marked(table(("", ["m"] * len(cells)), (best, cells)))
    assert [n for n, line in enumerate(shown["body"]) if line[1][1]] == marked
    assert [line[1][0] for line in shown["body"]] == cells


def test_heads_span_what_is_below_them():
    lines = [
        ["model", "clean", "", "radius 1", ""],
        ["", "RMSE", "SSIM", "RMSE", "SSIM"],
        ["a", "1", "2", "3", "4"],
    ]
    shown = report.marked(tables.Table("", lines, ("",) * 5, heads=2))
    assert shown["heads"] == [
        [("model", 1, 2), ("clean", 2, 1), ("radius 1", 2, 1)],
        [("RMSE", 1, 1), ("SSIM", 1, 1), ("RMSE", 1, 1), ("SSIM", 1, 1)],
    ]


def test_a_packed_image_comes_back_to_half_a_step():
    rng = np.random.default_rng(1)
    image = np.abs(rng.standard_normal((17, 13))).astype(np.float32)
    image[3, 4], image[5, 5] = 1e9, np.nan
    planes = np.frombuffer(
        zlib.decompress(base64.b64decode(viewer.pack(image, 0.001))), np.uint8
    ).reshape(2, 17, 13)
    folded = planes[0] + 256 * planes[1].astype(int)
    values = np.cumsum(np.where(folded % 2, -(folded + 1) // 2, folded // 2), axis=1) % 65536
    assert values[3, 4] == 65535 and values[5, 5] == 0
    image[3, 4], image[5, 5] = 65.535, 0
    assert np.abs(values * 0.001 - image).max() <= 0.0005 + 1e-5


def test_points_of_the_curves_are_the_means_and_percentiles_of_the_rows(tmp_path):
    rows, labels, *_ = arguments(tmp_path)
    (chart,) = charts_of(rows, ["first", NASTY], labels)
    own = [one["effect"] for one in rows if (one["model"], one["dataset"]) == (NASTY, "radius_2.5")]
    line = next(line for line in chart["lines"] if line[:2] == (1, "radius_2.5"))
    np.testing.assert_allclose(
        line[2]["effect"], [2.5, np.mean(own), *np.percentile(own, [25, 75])]
    )
    assert line[3] == len(own) == 3
    for panel in chart["panels"]:
        assert [len(curve["marks"]) for curve in panel["curves"]] == [3, 3]
        places = [place for curve in panel["curves"] for place in (*curve["marks"], *curve["band"])]
        assert all(0 <= x <= 400 and 0 <= y <= 270 for x, y, *_ in places)


@pytest.mark.slow_cases
@pytest.mark.parametrize("name", PAGES)
def test_a_page_loads_nothing(pages, name):
    page = Page(pages[name])
    for tag, attributes in page.elements:
        for key in ("src", "href", "srcset", "action", "data", "poster", "background"):
            assert attributes.get(key, "data:").startswith(("data:", "#")), (tag, attributes)
        assert not [key for key in attributes if key.startswith("on") or key == "style"], (
            tag,
            attributes,
        )
    text = pages[name].read_text(encoding="utf-8")
    assert not re.search(r"https?://|@import|url\(|\bfetch\b|XMLHttpRequest|\bimport\b *\(", text)
    policy = page.all("meta")[1]
    assert policy["http-equiv"] == "Content-Security-Policy"
    assert policy["content"].startswith("default-src 'none'; img-src data:;")
    assert len(page.all("img")) == 3 and all(image["alt"] for image in page.all("img"))
    assert "NaN" not in "".join(page.scripts) and ">nan<" not in text


def test_names_and_settings_stay_text(pages):
    page = Page(pages["two models"])
    assert len(page.scripts) == len(page.all("script")) == 2
    assert all("onerror" not in image for image in page.all("img"))
    assert NASTY in page.text and CLOSING in page.text
    shown = json.loads(page.scripts[0])
    assert shown["models"] == ["first", NASTY] and shown["slices"][0]["name"] == f"{CLOSING} 0"
    assert "python 'a b.py' '</script>" in page.text


def test_the_page_tells_what_made_it(pages):
    text = Page(pages["two models"]).text
    for name, value in provenance.origin().items():
        assert name in text and value in text
    assert "5e" * 32 in text and "; seed 0; SHA" in text and "; seed 1, mask seed 4; SHA" in text
    differing = r"Settings in which the runs differ\s*key\s*first.*defence.sigma\s*–\s*0.5"
    assert re.search(differing, text, re.DOTALL) and "grid_limit: 1.0" in text
    # What a run would be searched or attacked with next has no part in what is shown.
    assert "trials: 3" in text and "search.trials" not in text and "attacks.ascent" not in text


def test_slices_beyond_the_largest_size_are_left_out_and_named(tmp_path, monkeypatch):
    contents = arguments(tmp_path, slices=9)
    report.write(tmp_path / "whole.html", *contents)
    whole = json.loads(Page(tmp_path / "whole.html").scripts[0])
    assert len(whole["slices"]) == 9 and whole["left_out"] == 0
    monkeypatch.setattr(viewer, "_MOST_BYTES", 3.5 * viewer.size_of_images(whole["slices"][4]))
    report.write(tmp_path / "part.html", *contents)
    page = Page(tmp_path / "part.html")
    shown = json.loads(page.scripts[0])["slices"]
    assert [one["name"][-1] for one in shown] == ["0", "4", "8"]
    assert [one["scores"] for one in shown] == [whole["slices"][n]["scores"] for n in (0, 4, 8)]
    assert "The 6 others are in reconstructions.h5" in page.text
    monkeypatch.setattr(viewer, "_MOST_BYTES", 1)
    report.write(tmp_path / "least.html", *contents)
    assert [
        one["name"][-1] for one in json.loads(Page(tmp_path / "least.html").scripts[0])["slices"]
    ] == ["4"]


# In a browser


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    binary = shutil.which("chromium") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if not binary or not driver:
        pytest.skip("chromium (or google-chrome) and chromedriver are not on the PATH")
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    flags = "headless no-sandbox disable-gpu disable-quic no-first-run"
    quiet = "disable-background-networking disable-component-update disable-sync"
    for flag in [
        *flags.split(),
        *quiet.split(),
        f"user-data-dir={tmp_path_factory.mktemp('chromium')}",
    ]:
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield browser
    browser.quit()


def opened(browser, path, width=1280):
    """Opens a page at a width and waits until its first images are drawn. Returns a function for
    scripts in it.
    """
    resize(browser, width)
    browser.get(path.as_uri())
    settled(browser)
    return lambda script: browser.execute_script(f"return {script}")


def resize(browser, width):
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False},
    )


def settled(browser, request=1):
    from selenium.webdriver.support.ui import WebDriverWait

    script = "return Number(document.getElementById('viewer').dataset.ready)"
    WebDriverWait(browser, 20, poll_frequency=0.02).until(
        lambda b: (b.execute_script(script) or 0) >= request
    )


def errors(browser):
    """What the page's console was told; not the advice on how this test reads images."""
    return [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]


def picture(run, panel=0):
    """All bytes of a panel's image, as one string."""
    return run(f"document.querySelectorAll('.panel canvas')[{panel}].toDataURL()")


def press(browser, *keys):
    from selenium.webdriver.common.action_chains import ActionChains

    ActionChains(browser).send_keys(*keys).perform()


@pytest.mark.slow_cases
@pytest.mark.parametrize("width", [400, 1280])
@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_whole_at_both_widths(browser, pages, name, width):
    run = opened(browser, pages[name], width)
    assert errors(browser) == []
    assert run("document.title").startswith("tfvn evaluation: ")
    assert run("document.images.length") == 3
    assert run("[...document.images].every((image) => image.complete && image.naturalWidth > 0)")
    assert run("document.scrollingElement.scrollWidth <= document.scrollingElement.clientWidth")
    assert run(
        "[...document.querySelectorAll('.panel canvas')].every((c) => c.width === 20 && c.height"
        " === 24)"
    )
    shades = (
        "new Set(document.querySelectorAll('.panel canvas')[1].getContext('2d').getImageData(0, 0,"
        " 20, 24).data).size"
    )
    assert run(shades) > 50
    assert run("[...document.querySelectorAll('.message')].every((message) => message.hidden)")


def test_the_drawn_image_is_the_stored_one(browser, pages):
    run = opened(browser, pages["two models"])
    with h5py.File(pages["two models"].parent / "reconstructions.h5") as file:
        truth = file["slices/slice_00000/reference"][()]
        image, other = (
            file[f"models/{name}/slice_00000/radius_2.5"][()] for name in ("first", NASTY)
        )
        clean = file["models/first/slice_00000/clean"][()]
    window = np.percentile(truth, 99.9)
    pixels = (
        "[...document.querySelectorAll('.panel canvas')[{}].getContext('2d').getImageData(0, 0, 20,"
        " 24).data]"
    )

    def show(view):
        change = (
            "const s = document.getElementById('view'); s.value = arguments[0]; s.dispatchEvent(new"
            " Event('change'));"
        )
        request = run("Number(document.getElementById('viewer').dataset.ready)")
        browser.execute_script(change, view)
        settled(browser, request + 1)
        return [np.array(run(pixels.format(panel))).reshape(24, 20, 4) for panel in (0, 1)]

    gain = float(run("document.getElementById('gain').value"))
    grey = show("image")[0]
    np.testing.assert_allclose(grey[..., 0], np.clip(255 * image / window, 0, 255), atol=0.7)
    expected = np.clip(255 * gain * np.abs(image - truth) / window, 0, 255)
    np.testing.assert_allclose(show("absolute")[0][..., 1], expected, atol=0.6 + gain / 4)
    # Red where it is larger, blue where it is smaller.
    differences = {"error": image - truth, "change": image - clean, "difference": other - image}
    for view, difference in differences.items():
        drawn = show(view)[view == "difference"]
        clear = np.abs(difference) * gain > 0.2 * window
        assert (
            clear.sum() > 100 and ((drawn[..., 0] > drawn[..., 2]) == (difference > 0))[clear].all()
        )


@pytest.mark.slow
def test_the_viewer_is_worked_by_keys(browser, pages):
    from selenium.webdriver.common.keys import Keys

    run = opened(browser, pages["two models"])
    focus, reached = "document.activeElement", []
    for _ in range(60):
        press(browser, Keys.TAB)
        reached.append(run(f"{focus}.id || {focus}.getAttribute('class') || {focus}.tagName"))
        if reached[-1] == "viewport":
            break
    controls = [
        "slice",
        "view",
        "zoom",
        "window",
        "gain",
        "flicker",
        "rate",
        "exchange",
        "source",
        "condition",
        "source",
        "condition",
    ]
    assert reached[-len(controls) - 1 : -1] == controls
    assert (
        reached[0] == "skip"
        and reached.count("mark") == 2
        and run(f"{focus}.matches(':focus-visible')")
    )
    assert run(
        "[...document.querySelectorAll('select, input')].every((e) =>"
        " e.labels[0].textContent.trim())"
    )

    press(browser, Keys.ARROW_DOWN, Keys.ARROW_RIGHT)
    assert re.fullmatch(
        r"row 13, column 11: A 0\.\d+, B 0\.\d+",
        run("document.getElementById('readout').textContent"),
    )
    captions = (
        "[...document.querySelectorAll('.panel figcaption')].map((caption) => caption.textContent)"
    )
    before = picture(run), picture(run, 1), run(captions)
    assert (
        before[2][0].startswith("A: first, radius 2.5")
        and "RMSE 0." in before[2][0]
        and NASTY in before[2][1]
    )
    press(browser, "x")
    settled(browser, 2)
    assert (picture(run), picture(run, 1)) == (before[1], before[0])
    for request, key in enumerate("vncmpMC", 3):
        images = picture(run), picture(run, 1), run(captions)
        press(browser, key)
        settled(browser, request)
        assert (picture(run), picture(run, 1), run(captions)) != images
    # Not sent, as a form would be.
    browser.execute_script("document.getElementById('rate').focus()")
    press(browser, Keys.ENTER)
    browser.execute_script("document.querySelector('.viewport').focus()")
    width = run("document.querySelector('.sheet').clientWidth")
    press(browser, *"++++")
    assert run("document.querySelector('.sheet').clientWidth") == 160 != width
    assert errors(browser) == []


def test_a_flicker_begins_and_ends_with_the_users_key(browser, pages):
    from selenium.webdriver.support.ui import WebDriverWait

    run = opened(browser, pages["two models"])
    still, other = picture(run), picture(run, 1)
    shown = "document.querySelector('.shown').textContent"
    assert (
        still != other
        and run("document.getElementById('flicker').getAttribute('aria-pressed')") == "false"
    )
    browser.execute_script(
        "document.getElementById('rate').value = 3; document.querySelector('.viewport').focus()"
    )
    press(browser, "f")
    assert run("document.getElementById('flicker').getAttribute('aria-pressed')") == "true"
    assert run("getComputedStyle(document.querySelectorAll('.panel')[1]).display") == "none"
    for letter, image in [("B", other), ("A", still), ("B", other)]:
        WebDriverWait(browser, 10, poll_frequency=0.02).until(
            lambda _, letter=letter: run(shown) == letter
        )
        assert picture(run) == image
    press(browser, "f")
    assert run(shown) == "A" and picture(run) == still
    assert run("getComputedStyle(document.querySelectorAll('.panel')[1]).display") == "block"


def test_values_of_the_curves_are_shown_on_focus(browser, pages):
    from selenium.webdriver.common.keys import Keys

    run = opened(browser, pages["all attacks"])
    assert run("document.querySelectorAll('.chart').length") == 8
    browser.execute_script("document.querySelector('.legend button:last-of-type').focus()")
    press(browser, Keys.TAB)
    assert not run("document.getElementById('tip').hidden")
    assert "first, clean: at 0: mean 0" in run("document.getElementById('tip').textContent")
    press(browser, Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ARROW_DOWN)
    assert run("document.getElementById('tip').textContent").startswith(f"{NASTY}, radius 2.5")
    press(browser, Keys.ESCAPE)
    assert run("document.getElementById('tip').hidden")
    browser.execute_script("document.querySelector('.legend button').click()")
    assert run("document.querySelectorAll('.charts .hidden').length") == 8


def test_models_are_chosen_for_the_whole_page(browser, pages):
    run = opened(browser, pages["twelve models"])
    browser.execute_script("document.getElementById('wanted').focus()")

    def shown(parts):
        """The models that parts of the page are left of."""
        found = f"[...document.querySelectorAll('{parts}')].filter((e) => e.offsetParent || "
        found += "e.getClientRects().length).map((e) => Number(e.dataset.model))"
        return set(run(found))

    parts = ["main tbody tr[data-model]", ".legend button", ".chart g[data-model]"]
    parts += ["#settings details", "#origin div[data-model]", "#settings th[data-model]"]
    for part in parts:
        assert shown(part) == set(range(12)), part
    press(browser, *"L_1")
    for part in parts:
        assert shown(part) == {1, 10, 11}, part
    assert run("document.getElementById('how-many').textContent") == "3 of 12 shown"
    settled(browser, 2)
    offered = "[...document.querySelector('.source').options].filter((o) => !o.disabled).length"
    assert run(offered) == 3 + 2
    assert "model_1," in run("document.querySelector('.panel figcaption').textContent")
    browser.execute_script(
        "document.querySelector('.names label[data-model=\"10\"] input').click()"
    )
    assert shown(parts[0]) == {1, 11}
    browser.execute_script("document.getElementById('none').click()")
    assert shown(parts[0]) == set()
    browser.execute_script("document.getElementById('all').click()")
    assert shown(parts[0]) == {1, 10, 11}
    press(browser, *["\ue003"] * 3)
    assert shown(parts[0]) == set(range(12))
    assert errors(browser) == []

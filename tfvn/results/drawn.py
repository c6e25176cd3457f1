"""What single draws prove of a smoothed run: `python -m tfvn certify`.

* `draws.csv`: a row for each slice, certificate and radius, and of all patients for each radius.
* `draws.md`: their means over the slices.
* `draws.h5`: the images that the bounds are around, and those between which each pixel of a median
  is: `median`, `median_lower_RADIUS` and so on, as of a model in `tfvn.results.images`.

Slices that are done are kept, and an interrupted call goes on after them.
"""

import json
import math
import os
import time
from typing import NamedTuple

import numpy as np

from tfvn import checks, data, files, progress, tables
from tfvn.certificates import FROM_DRAWS, Draws, NextPatient
from tfvn.certificates.draws import check_radii
from tfvn.physics import noise
from tfvn.results.candidates import cases, compared_data, open_candidates
from tfvn.results.images import write_model_slice, write_slices
from tfvn.results.measure import load
from tfvn.results.partial import Kept
from tfvn.results.writing import prepare_folder, write_table
from tfvn.runs import locks, trained_on

__all__ = ["FILES", "Plan", "RATIOS", "certify", "dry_run", "told_time"]

FILES = ("draws.csv", "draws.md", "draws.h5")
# Radii where none are given, by the deviation of the noise.
RATIOS = (0.25, 0.5, 1.0)
_UNFINISHED = ".uncertified"
# Draws that say how long one takes, after one that compiles.
_TIMED = 3
# Of a pixel of a draw in a file.
_BYTES = 4


class Plan(NamedTuple):
    """What is to be certified.

    alpha: the probability that a bound does not hold.
    miss: the share of patients for whom the bound on the next patient may not hold.
    radii: of || A r ||_2; none for `RATIOS` times the deviation of the noise.
    num_draws: of each slice; 0 for as many as make sure that the median and the centre have bounds.
        Of others it depends on the draws.
    """

    alpha: float = 0.001
    miss: float = 0.1
    radii: tuple = ()
    num_draws: int = 0

    def certificates(self):
        """The certificates of single slices."""
        return tuple(kind.at_level(self.alpha) for kind in FROM_DRAWS.values())

    def next_patient(self):
        """The certificate of the next patient."""
        return NextPatient(self.miss)

    def completed(self, sigma, pixels):
        """The plan with radii and a number of draws, for images of so many pixels.

        Raises:
            ValueError: for values that make no certificate, and where no number of draws is enough.
        """
        radii = check_radii(self.radii or [ratio * sigma for ratio in RATIOS])
        count = checks.whole("num_draws", self.num_draws, 0)
        # What is wrong with the levels is told before a draw is made.
        self.next_patient()
        made = self.certificates()
        if not count:
            ratio = max(radii) / sigma
            counts = [one.needed(pixels, ratio) for one in made if one.suffices]
            # One that no number of draws is enough for abstains alone.
            count = max(filter(math.isfinite, counts), default=math.inf)
        if not math.isfinite(count):
            raise ValueError(
                f"no number of draws is enough for a radius of {max(radii):g} with noise of"
                f" {sigma:g}. Take radii below 5 times the noise."
            )
        return self._replace(radii=tuple(dict.fromkeys(radii)), num_draws=count)


class _Run(NamedTuple):
    """A run with its model in memory.

    candidate: the `Candidate`.
    source: its test slices.
    loaded: the `Loaded` model.
    plan: the `Plan`, completed.
    """

    candidate: object
    source: object
    loaded: object
    plan: Plan

    @property
    def sigma(self):
        return self.loaded.model.sigma

    def draws(self, case, count):
        """Yields single draws of the answer to a slice, real (rows, width)."""
        model = self.loaded.model
        keys = noise.keys(model.seed, noise.CERTIFYING, case.inputs["sample_index"])
        for images in model.single_draws(case.inputs, keys, count):
            yield images[0].numpy()

    def patients(self):
        """The numbers of one slice of each patient, the middle one of those that are there."""
        slices = {}
        for index in range(len(self.source)):
            slices.setdefault(self.source.patient(index), []).append(index)
        return [own[len(own) // 2] for own in slices.values()]


def _opened(run_dir, plan, overrides):
    """The `_Run` of a directory, and the number of pixels of its largest image.

    Raises:
        ValueError: if it has no defence with normal noise.
    """
    (candidate,) = open_candidates([run_dir], overrides)
    defence = candidate.config.defence
    loaded = load(candidate)
    if not loaded.model.proves_from_draws:
        told = f"defence={defence.name}, sigma={defence.get('sigma', 0)}"
        if defence.get("law"):
            told += f", law={defence.get('law')}"
        raise ValueError(
            f"{run_dir}: draws prove something of the defence smoothed alone, with sigma > 0 and"
            f" the law gaussian. Received: {told}. Train or attack a run with defence=smoothed"
            " defence.sigma=0.05."
        )
    _warn_of_training(candidate.config)
    source = data.source(candidate.config, "test")
    pixels = 0
    for index in range(len(source)):
        _, height, width = source.shape(index)
        _, rows, _ = loaded.model.sense.rows(height)
        pixels = max(pixels, rows * width)
    return _Run(candidate, source, loaded, plan.completed(loaded.model.sigma, pixels)), pixels


def _warn_of_training(config):
    """Warns of data that make errors too small, and of those that are unlike the training's."""
    trained_on.warn_of_trained_slices(config, scans=True)
    if config.model.file:
        trained_on.warn_of_data(config.model.file, config)


def dry_run(run_dir, plan, overrides=()):
    """Tells what could be certified with how many draws, and how long that would take.

    Args:
        run_dir: a run directory, of a trained network with a defence `smoothed`.
        plan: a `Plan`.
        overrides: as for `tfvn.results.evaluate.evaluate`.

    Returns:
        The text, which is printed too.

    Raises:
        ValueError: as `certify`.
    """
    run, pixels = _opened(run_dir, plan, overrides)
    count, total = run.plan.num_draws, len(run.source)
    lines = [["certificate", "radius", "radius / sigma", "needed", "there are", "claims"]]
    patients = len(run.patients())
    for radius in run.plan.radii:
        ratio = radius / run.sigma
        for one in run.plan.certificates():
            sure = "yes" if one.suffices else "may"
            needed = one.needed(pixels, ratio)
            lines.append(_line(one.name, radius, ratio, needed, count, "draws", sure))
        one = run.plan.next_patient()
        lines.append(_line(one.name, radius, ratio, one.needed(ratio), patients, "patients", "yes"))
    seconds = _seconds_of_a_draw(run) * count * total
    text = (
        f"{tables.aligned(lines)}\nSlices: {total}, of {pixels} pixels at most, with {count} draws"
        f" each. Time: about {told_time(seconds)}. Disk, for one slice at a time:"
        f" {_BYTES * pixels * count / 1e6:.3g} MB.\n"
    )
    print(text, end="")
    return text


def _line(name, radius, ratio, needed, count, unit, sure):
    """A line of the table; `sure` is the answer where there are enough."""
    told = "no number" if math.isinf(needed) else f"{needed} {unit}"
    answer = sure if needed <= count else "no"
    return [name, tables.digits(radius), f"{ratio:.3g}", told, str(count), answer]


def _seconds_of_a_draw(run):
    """How long one draw of the first slice takes, in seconds."""
    case = next(iter(cases(run.candidate.config, run.source)))
    for _ in run.draws(case, 1):
        pass
    began = time.perf_counter()
    for _ in run.draws(case, _TIMED):
        pass
    return (time.perf_counter() - began) / _TIMED


def told_time(seconds):
    """A time in words."""
    if seconds < 120:
        return f"{seconds:.0f} seconds"
    if seconds < 7200:
        return f"{seconds / 60:.0f} minutes"
    return f"{seconds / 3600:.1f} hours"


def certify(run_dir, output, plan, overrides=()):
    """Writes what single draws prove of the test slices of a smoothed run, see `FILES`.

    A row of `draws.csv` has the columns

    * `model`, `slice`, `name`: of the run and of the slice; slice -1 stands for all patients.
    * `certificate`, and `about`, what its bound is about.
    * `radius` of || A r ||_2, or of any change of the data; `sigma` of the noise.
    * `confidence` of the row: 1 - alpha, 1 - miss over patients, 0 for an estimate.
    * `abstains`: 1 where too few draws were made, else 0. `needed` is the least number, `draws`
      that which was made, both of patients for the next patient.
    * `bound`, and `share`, that of || y ||_2; empty where it abstains.
    * `error`: that of the image which the bound is around; empty where that is not known.
    * `norm` and `scaled`, of `trace`: to which norm larger images were scaled back, and the share
      of draws that were.

    Args:
        run_dir: a run directory, of a trained network with a defence `smoothed` and normal noise.
        output: the folder of the files.
        plan: a `Plan`.
        overrides: as for `tfvn.results.evaluate.evaluate`.

    Returns:
        The paths of the files; they are printed, with the table.

    Raises:
        ValueError: for a run without such a defence, values that make no certificate, and what
            cannot be read or written.
    """
    run, _ = _opened(run_dir, plan, overrides)
    prepare_folder(output, (*FILES, _UNFINISHED))
    kept = Kept(os.path.join(output, _UNFINISHED))
    with locks.alone(output, "certifies into it"):
        path = os.path.join(output, "draws.h5")
        with files.writing_hdf5(path) as file:
            rows = _certify_all(run, output, kept, file)
        print(f"wrote {path}")
        paths = [*_write(rows, output), path]
        kept.remove()
    return paths


def _certify_all(run, output, kept, file):
    """The rows of all slices and of the next patient. It writes their images to an HDF5 file."""
    candidate, source = run.candidate, run.source
    patients, scores, rows = set(run.patients()), [], []
    write_slices(file, candidate.config, source)
    with progress.bar(total=len(source), desc=f"certify {candidate.name}", unit="slice") as bar:
        for case in cases(candidate.config, source):
            images, found = _certified(run, case, kept, output)
            write_model_slice(file, candidate.name, case, images)
            rows.extend(found["rows"])
            if case.index in patients and found["score"] is not None:
                scores.append(found["score"])
            bar.update()
    return rows + _of_patients(run, scores)


def _certified(run, case, kept, output):
    """What is certified of a slice: its images, and a dict with `rows` and the `score` of its first
    draw.
    """
    settings, states = run.source.fingerprint(case.index)
    plan, model = run.plan._asdict(), run.loaded.model.identity
    made_of = [run.loaded.digest, model, run.candidate.config.seed, plan, settings, states]
    key = json.dumps([case.name, made_of, compared_data(run.candidate.config)])
    numbers = [case.scale, case.signature.tolist()]
    path = kept.path(run.candidate.name, case.index)
    done = kept.read(path, key, numbers)
    if done is None:
        done = _certify(run, case, output)
        kept.write(path, key, numbers, *done)
    return done


def _certify(run, case, output):
    reference = np.abs(case.reference[0].numpy())
    if not np.isfinite(reference).all():
        reference = None
    rows, score, images = [], None, {}
    with Draws(case.reference.shape[1:], output) as draws:
        for image in run.draws(case, run.plan.num_draws):
            draws.append(image)
        if reference is not None:
            score = float(np.linalg.norm(next(draws.images()) - reference))
        for one in run.plan.certificates():
            asked = (draws, run.sigma, run.plan.radii, reference)
            answer = one.answer(*asked)
            images.update(answer.images(one.name, run.plan.radii))
            for claim in one.claims_of(answer, *asked):
                rows.append(_row(run, claim, case, reference))
    return images, {"rows": rows, "score": score}


def _row(run, claim, case=None, reference=None):
    norm = 0.0 if reference is None else float(np.linalg.norm(reference))
    # Of an image without signal nothing is a share.
    share = claim.bound / norm if norm else math.nan
    return {
        "model": run.candidate.name,
        "slice": -1 if case is None else case.index,
        "name": "all" if case is None else case.name,
        "certificate": claim.certificate,
        "radius": claim.radius,
        "sigma": run.sigma,
        "confidence": claim.confidence,
        "abstains": int(claim.abstains),
        "needed": claim.needed,
        "draws": claim.draws,
        "bound": claim.bound,
        "share": share,
        "error": claim.error,
        "norm": claim.norm,
        "scaled": claim.scaled,
        "about": claim.about,
    }


def _of_patients(run, scores):
    """The rows of the next patient."""
    claims = run.plan.next_patient().claims(scores, run.sigma, run.plan.radii)
    return [_row(run, claim) for claim in claims]


def _write(rows, output):
    """Writes and prints the rows. Returns the paths of the files."""
    return write_table(output, "draws", rows, _text(rows))


def _text(rows):
    """The means over the slices, as a table with its explanation."""
    heads = ["certificate", "radius", "confidence", "needed", "made", "abstains", "bound"]
    lines = [[*heads, "of ||y||", "error"]]
    keys = dict.fromkeys((row["certificate"], row["radius"]) for row in rows)
    for name, radius in keys:
        own = [row for row in rows if (row["certificate"], row["radius"]) == (name, radius)]
        silent = sum(row["abstains"] for row in own)
        line = [name, tables.digits(radius), f"{own[0]['confidence']:g}"]
        for key in ("needed", "draws"):
            most = max(row[key] for row in own)
            line.append(f"{most:g}")
        line.append(f"{silent} of {len(own)}")
        line += [_mean(own, key) for key in ("bound", "share", "error")]
        lines.append(line)
    abouts = dict.fromkeys(f"{row['certificate']}: {row['about']}" for row in rows)
    return (
        f"{tables.aligned(lines)}\nRadius: of ||A r||_2, or of any change of the data. Bound: mean"
        " over the slices that have one. Confidence: of each bound by itself; 0: an estimate, which"
        f" claims nothing. {'. '.join(abouts)}.\n"
    )


def _mean(rows, key):
    """The mean of what is there, as text."""
    values = [row[key] for row in rows if not math.isnan(row[key])]
    return tables.digits(float(np.mean(values)) if values else math.nan)

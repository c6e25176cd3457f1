"""What `evaluate.py` does: it makes tables, figures and a report of runs.

These are its files:

    results.csv             a row for each image: model, slice, attack, size
    table1.csv, table1.md   means for each model and size
    figure1.png             the data: k-space and map of one coil, zero-filled image, ground truth
    figure2.png             perturbation effect and error against ||r||
    figure3.png             the middle slice as every model sees it
    figure4.png             effect against ||r|| of the projected attack and that of Antun et al.,
                            where there are both
    figure6.png             accuracy against the proved and the measured amplification, where a
                            constant is proved and several models were attacked
    targets.png             the middle slice under attacks that have a target, or attack discs or
                            all slices at once, where there are any
    certificates.csv        of every model of which something is proved: its Lipschitz constants,
                            and what they say of each attack
    flags.csv               of every model: which rules say that its numbers are wrong, see
                            `tfvn.results.rules`
    volumes.csv             of data of volumes: their errors as fastMRI tells them, see
                            `tfvn.results.volume_protocol`
    reconstructions.h5      all images, see `tfvn.results.images`
    report.html             all of it on one page, with curves to read values from and images to
                            compare: a single file
"""

import json
import os
import shlex
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfvn import attacks, data, files, progress
from tfvn.cluster import Task
from tfvn.data import Source
from tfvn.figures import paper
from tfvn.figures.targets import Aimed
from tfvn.physics import measurement
from tfvn.results import certified, flagged, measure, transfer, volume_protocol, wording
from tfvn.results.aggregate import aggregate
from tfvn.results.candidates import Candidate, cases, check_attacks, compared_data, open_candidates
from tfvn.results.images import write_model_slice, write_slices
from tfvn.results.measure import Loaded
from tfvn.results.partial import Kept
from tfvn.results.probes import flags_of_model
from tfvn.results.rows import dataset_of
from tfvn.results.writing import (
    FILES,
    Evaluated,
    Results,
    check_shown,
    prepare_folder,
    write_results,
)
from tfvn.runs import attack_files, directory, elsewhere, locks, trained_on
from tfvn.training import hparams

__all__ = ["Evaluation", "evaluate"]

# A folder in there while it is at it, of slices that are done.
_UNFINISHED = ".unfinished"


def evaluate(run_dirs, output, overrides=(), strategy=None, show=(), probe=False, cluster=None):
    """Evaluates the models of several runs on their common test slices, clean and attacked.

    A row of `results.csv` is one image f(k + A r). Its columns:

    * `model`, `slice`, `name`: of the run and of the slice.
    * `attack`: none, the norm of the ball (l2, l1 or linf), antun, or the name of a search with
      those of its threat and goal.
    * `radius` of the ball, 0 for a clean image; `steps` of antun.
    * `norm` = ||r||_2, or what `Threat.length` says of another change; `kspace_norm` = ||A r||_2,
      and `kspace_l1` = ||A r||_1 of real and imaginary parts, both empty where A is changed.
    * `total_variation` in the certificate of a smoothed model: its bound at ||A r||, as a share of
      the diameter of the range. Of a model with Lipschitz constants the bound is L_k ||A r||.
    * `image_norm` = ||y||_2 and `relative_radius` = norm / image_norm, or what the `full_size` of
      another threat says.
    * `rmse` = || f - |y| ||_2, of which a set's RMSE is the root mean square.
    * `nrmse` = rmse / image_norm. It is of magnitudes, where the original code's is of complex
      images.
    * `ssim`, `psnr`.
    * `draw_norm`, the largest norm of a single draw, and `operator_norm`, a bound of ||A||.
    * `effect` = ||f(k + A r) - f(k)||_2.
    * `missed` = 1 where the change is a feature that the answer lacks, and 0 where it shows it.
    * `sigma`, `noise`, `num_samples` and `seed` of the model, and its `track`: how it must be
      attacked, see `tfvn.choices.TRACKS`. `gradients` = how many gradients of a slice trained it
      and the other networks of its defence.

    Without a reference the columns that need one are empty.

    Args:
        run_dirs: run directories of trained networks, in the order of the table. One without
            attacks has clean rows only.
        output: directory for the results, made if need be. Files of an earlier evaluation are
            replaced, others never.
        overrides: settings of the defences other than those of the runs, such as
            `["defence.num_samples=100"]`. Runs without such a key take none.
        strategy: a `tf.distribute` strategy over whose devices draws are split; models that have
            none to split use one device.
        show: the names of the models in figure 3, in its order. If there is none these are all, and
            of more than `tfvn.results.writing.SHOWN` the first ones.
        probe: whether the models are probed on the middle slice, see `tfvn.results.probes`.
        cluster: the `tfvn.cluster.Cluster` whose workers evaluate slices; None: this process.

    Returns:
        The paths of all files written; they are printed too, and at the end the table. The last is
        `report.html`, which holds tables, curves, images and figures, the settings of the runs, and
        the versions, seeds and commands that made them.

    Raises:
        ValueError: if a run is not trained, or its attacks are unfinished or of another model; if
            the runs have different test data; for a name in `show` of no run; or if a file would be
            replaced that is no earlier result. No file is written then. Also if a reconstruction is
            not finite, a file cannot be written, or another evaluation writes into that folder.
            Then earlier results stay as they are, and slices that are done are kept for the next
            call.
    """
    candidates = open_candidates(run_dirs, overrides)
    check_shown(show, [candidate.name for candidate in candidates])
    source = data.source(candidates[0].config, "test")
    for index in range(len(source)):
        directory.check_name(source.name(index), f"slice {index}")
    check_attacks(candidates, len(source))
    prepare_folder(output, (*FILES, _UNFINISHED))
    kept = Kept(os.path.join(output, _UNFINISHED))
    with locks.alone(output, "evaluates into it"):
        for candidate in candidates:
            file = candidate.config.model.file
            if file:
                trained_on.warn_of_data(file, candidate.config)
        if cluster is not None:
            _evaluate_there(candidates, source, output, cluster)
        results = _gather(candidates, source, output, strategy, kept, probe)
        table = aggregate(results.rows)
        paths, text = write_results(results, table, output, show)
        kept.remove()
        for path in paths:
            print(f"wrote {path}")
        _log_scores(results, table)
        print(
            f"Next: open {shlex.quote(paths[-1])} in a browser, where the images can be"
            f" compared.\n\n{text}",
            end="",
        )
        return paths


class Evaluation(NamedTuple):
    """The evaluation of one run, slice by slice.

    candidate: the `Candidate`.
    source: the test slices.
    loaded: the `Loaded` model.
    kept: the `Kept` slices.
    """

    candidate: Candidate
    source: Source
    loaded: Loaded
    kept: Kept

    def evaluated(self, case):
        """The images and rows of a `Case`, from the file of a stopped evaluation or made anew."""
        key = self._made_of(case)
        # Not in the key: of estimated maps they differ by rounding between machines.
        numbers = [case.scale, case.signature.tolist()]
        path = self.kept.path(self.candidate.name, case.index)
        done = self.kept.read(path, key, numbers)
        if done is None:
            done = measure.measure_slice(self.candidate, case, self.loaded)
            self.kept.write(path, key, numbers, *done)
        return done

    def _made_of(self, case):
        """What the images and rows of a slice depend on, as text."""
        config = self.candidate.config
        model = [self.loaded.digest, self.loaded.model.identity, config.seed]
        data_of_all = compared_data(config)
        settings, states = self.source.fingerprint(case.index)
        attack_states = [files.state(path) for path in self.candidate.attack_paths(case.index)]
        made = self.candidate.attacks
        parts = [case.name, model, made, data_of_all, settings, states, attack_states]
        return json.dumps(parts)


def _evaluate_there(candidates, source, output, cluster):
    """Evaluates all slices in the workers of a cluster, for `_gather` to find."""
    folder = os.path.join(output, _UNFINISHED)
    tasks = []
    for candidate in candidates:
        elsewhere.check_files(candidate.config)
        given = candidate, folder, elsewhere.state_of_data(candidate.config)
        for index in range(len(source)):
            name = f"evaluate {candidate.name} slice {index}"
            tasks.append(Task(name, _evaluate_slice, (*given, index)))
    with progress.bar(total=len(tasks), desc="evaluate", unit="slice") as bar:
        for _ in cluster.compute(tasks, output):
            bar.update()


def _evaluate_slice(candidate, folder, state, index):
    """Evaluates one slice, in a worker."""
    elsewhere.ready(candidate.config, state)
    source = data.source(candidate.config, "test")
    evaluation = Evaluation(candidate, source, measure.load_kept(candidate), Kept(folder))
    (case,) = cases(candidate.config, source, start=index, step=len(source))
    evaluation.evaluated(case)


def _gather(candidates, source, output, strategy, kept, probe):
    """Writes the images, and evaluates the slices that are not done. Returns the `Results`."""
    total = len(source) * sum(1 + len(candidate.attacks) for candidate in candidates)
    path = os.path.join(output, "reconstructions.h5")
    maps = data.maps_origin(candidates[0].config)
    transferred = transfer.stored(output)
    runs = []
    with progress.bar(total=total, unit="image") as bar, files.writing_hdf5(path) as file:
        file.attrs["coil_maps"] = maps
        shown = write_slices(file, candidates[0].config, source)
        for candidate in candidates:
            bar.set_description(f"evaluate {candidate.name}")
            loaded = measure.load(candidate, strategy)
            file.create_group(f"models/{candidate.name}").attrs["model_hash"] = loaded.digest
            evaluation = Evaluation(candidate, source, loaded, kept)
            runs.append(_gather_run(evaluation, file, bar, probe, transferred))
    volumes = []
    if candidates[0].config.dataset.holds_volumes:
        volumes = volume_protocol.measured(path)
    return Results(runs, path, maps, shown, volumes)


def _gather_run(evaluation, file, bar, probe, transferred):
    """Writes the images of one run. Returns what is `Evaluated`."""
    candidate, source, loaded, _ = evaluation
    # What is wrong with them is told before anything is measured.
    certificates = certified.claimed(loaded.model)
    rows, probed, aimed = [], [], []
    for case in cases(candidate.config, source):
        images, found = evaluation.evaluated(case)
        write_model_slice(file, candidate.name, case, images)
        rows.extend(found)
        bar.update(len(found))
        if case.index == len(source) // 2:
            example = _example(candidate, case, images, found)
            aimed = _aimed(candidate, case, loaded.model.sense, images)
            if probe:
                index = case.inputs["sample_index"]
                probed = flags_of_model(loaded.model, case.inputs, case.reference, index)
    flags = flagged.flags_of_run(candidate, rows, certificates, probed, transferred)
    settings = loaded.network.get_config()
    return Evaluated(candidate, rows, example, aimed, settings, certificates, flags)


def _example(candidate, case, images, rows):
    """One slice as one model sees it, for figure 3: clean, and attacked on its largest l2 ball."""
    scores = {}
    for row in rows:
        scores[dataset_of(row)] = (row["rmse"], row["ssim"])
    clean = paper.Example(candidate.name, images["clean"], scores["clean"])
    ball = candidate.largest_ball()
    if ball is None:
        return clean
    kind, radius = ball
    dataset = attacks.of(kind).dataset(radius)
    stored = attack_files.read_attack(candidate.attack_path(kind, radius, case.index))
    return clean._replace(
        radius=radius,
        perturbation=stored["perturbation"],
        attacked=images[dataset],
        attacked_scores=scores[dataset],
    )


def _aimed(candidate, case, sense, images):
    """One slice under each kind of attack that wanted something of it, at its largest size."""
    found = []
    for kind, size in dict(candidate.attacks).items():
        attack = attacks.of(kind)
        path = candidate.attack_path(kind, size, case.index)
        stored = attack_files.read_attack(path, needed=("history",))
        wanted = attack.wanted(stored, images["clean"])
        if wanted is None:
            continue
        read = measurement.read_as(sense, case.inputs, "zero_filled")
        perturbation = tf.constant(stored["perturbation"][None])
        known = attack.changes.known(sense, case.inputs, case.reference)
        changed = attack.changes.enter(sense, read, perturbation, known)
        image = changed["zero_filled"] - read["zero_filled"]
        found.append(
            Aimed(
                candidate.name,
                attack.label(size),
                images["clean"],
                images[attack.dataset(size)],
                wanted,
                np.abs(image[0].numpy()),
            )
        )
    return found


def _log_scores(results, table):
    """Gives TensorBoard the scores of every model."""
    for run in results.runs:
        candidate = run.candidate
        scores = wording.scores_of([entry for entry in table if entry["model"] == candidate.name])
        hparams.write_hparams(candidate.run_dir, candidate.config, run.architecture, scores)

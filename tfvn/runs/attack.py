"""What `attack.py` does: it attacks the model of a run directory, slice by slice."""

import os

from tfvn import attacks, data, progress
from tfvn.cluster import Task
from tfvn.runs import directory, elsewhere, given, locks, trained_on
from tfvn.runs.attack_job import Job
from tfvn.runs.models import model_hash, models_of

__all__ = ["attack_run", "attack_slice", "conclude"]


def attack_run(run_dir, config, strategy=None, cluster=None, tells_next=True):
    """Attacks every test slice with every configured attack, one after the other, at all its sizes.

    Finished slices are kept, so that the same call continues.

    Args:
        run_dir: the run directory.
        config: its configuration.
        strategy: a `tf.distribute` strategy over whose devices the draws of the model are split.
        cluster: the `tfvn.cluster.Cluster` whose workers attack, a slice each; None: this process.
        tells_next: whether to say how the attacked run is evaluated.

    Raises:
        ValueError: if no attack is configured; if the run is not trained, is being trained, or
            holds other attacks; for data that cannot be used; for a strategy of a model without
            draws.
    """
    if not config.attacks:
        raise ValueError(
            "attacks must name at least one attack. Received: attacks=[]. Add one, as in --set"
            f" attacks={','.join(attacks.ATTACKS)}."
        )
    with locks.together(run_dir, config, "attacks it"):
        _attack(run_dir, config, strategy, cluster)
    if tells_next:
        print(f"Next: {_next_is_evaluation(run_dir, config)}")


def _attack(run_dir, config, strategy, cluster):
    source = data.source(config, "test")
    for index in range(len(source)):
        directory.check_name(source.name(index), f"slice {index}")
    jobs = _jobs(run_dir, config, strategy, source)
    if cluster is not None:
        elsewhere.check_files(config)
        _attack_there(run_dir, config, source, cluster)
    for job in jobs:
        if cluster is None:
            _attack_here(job)
        job.conclude()


def _next_is_evaluation(run_dir, config):
    """What evaluates the run."""
    if given.is_given(config):
        # No other Python has the model.
        return f"tfvn.results.evaluate.evaluate([{os.fspath(run_dir)!r}], OUTPUT) in this Python"
    return directory.command("python", "evaluate.py", directory.as_argument(run_dir))


def _jobs(run_dir, config, strategy, source):
    """The configured attacks as `Job`s, which are checked before any work."""
    models = models_of(run_dir, config, strategy)
    file = config.model.file
    if file:
        trained_on.warn_of_data(file, config)
        trained_on.write(run_dir, config)
    digest = model_hash(models.network)
    jobs = []
    for part in config.attacks:
        attack = part.make(seed=config.seed)
        seen = models.with_draws(part.num_samples)
        jobs.append(Job(run_dir, config, attack, source, seen, digest))
    for job in jobs:
        job.check_earlier()
    return jobs


def _attack_there(run_dir, config, source, cluster):
    """Attacks all slices in the workers of a cluster."""
    tasks = []
    for number in range(len(config.attacks)):
        tasks.extend(_slice_tasks(run_dir, config, number, len(source)))
    title = f"attack {os.path.basename(run_dir)}"
    with progress.bar(total=len(tasks), desc=title, unit="slice") as bar:
        for _ in cluster.compute(tasks, run_dir):
            bar.update()


def _slice_tasks(run_dir, config, number, count):
    """The tasks of one attack of a run on all its slices, a list of `tfvn.cluster.Task`."""
    attack = config.attacks[number].make(seed=config.seed)
    splits = ("train", "test") if attack.learns else ("test",)
    given = run_dir, config, number, elsewhere.state_of_data(config, splits), splits
    tasks = []
    for index in range(count):
        # The first one writes what all others begin with.
        after = (tasks[0].name,) if attack.learns and tasks else ()
        name = f"attack {number + 1} ({attack.kind}), slice {index}"
        tasks.append(Task(name, _attack_one, (*given, index), after))
    return tasks


def _attack_one(run_dir, config, number, state, splits, index):
    elsewhere.ready(config, state, splits)
    attack_slice(run_dir, config, number, index)


def attack_slice(run_dir, config, number, index):
    """Attacks one slice at all sizes, in a worker that keeps the model for its next tasks.

    Args:
        run_dir, config: the run.
        number: of the attack in `config.attacks`.
        index: of the slice.
    """
    with locks.together(run_dir, config, "attacks it"):
        job = _job_there(run_dir, config, number)
        (batch,) = data.load(config, "test", start=index, step=len(job.source))
        for size, before in job.ladder():
            job.log(size, before, job.attack_slice(size, before, (index, batch)))


def _job_there(run_dir, config, number):
    """One of the attacks of a run, in a worker."""
    part = config.attacks[number]
    models = elsewhere.model_of(run_dir, config)
    source = data.source(config, "test")
    attack = part.make(seed=config.seed)
    seen = models.with_draws(part.num_samples)
    return Job(run_dir, config, attack, source, seen, model_hash(models.network))


def conclude(run_dir, config):
    """Says what the attacks on all slices came to, and writes their mean curves."""
    source = data.source(config, "test")
    for part in config.attacks:
        attack = part.make(seed=config.seed)
        Job(run_dir, config, attack, source, None, "").conclude()


def _attack_here(job):
    """Attacks all slices in this process."""
    total = len(job.source) * len(job.attack.sizes)
    title = f"attack {os.path.basename(job.run_dir)}"
    with progress.bar(total=total, desc=title, unit="slice") as bar:
        for size, before in job.ladder():
            for item in enumerate(data.load(job.config, "test")):
                job.log(size, before, job.attack_slice(size, before, item))
                bar.update()

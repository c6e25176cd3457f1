"""How short tasks may be until Dask is the limit: `python -m benchmarks.scheduler`.

The workers are threads of this process, as is the scheduler, and their tasks sleep. So one core
does all that a real scheduler does, and what workers on machines of their own do as well. The share
of the time that a worker sleeps is what is left for real work. The CPU time of a task does not
depend on what else the machine does: N workers need tasks of N times as much at least.

A task is sent as `tfvn.cluster` sends it: packed, with the terms that a worker compares.

With `--board FILE.yaml --times TIMES.csv` the tasks are those of a leaderboard that has not been
computed yet, each as long as a real one has recorded, and each after those that it waits for. With
`--faster 50` all are shorter by that factor, so that hours are simulated in minutes, and the
scheduler has as many tasks a second as with 50 times as many workers:

    python -m benchmarks.scheduler --workers 64 --faster 20 \\
        --board configs/leaderboard/defences.yaml --times runs/leaderboard/defences/times.csv
"""

import argparse
import contextlib
import pickle
import time

import dask
from distributed import Client, LocalCluster, wait

from tfvn import cluster

__all__ = ["connected", "main", "share", "simulate"]


def share(client, workers, seconds, rounds):
    """The share of their time that workers spend in tasks of so many seconds, `rounds` each, and
    the CPU seconds of one.
    """
    packed = pickle.dumps((time.sleep, (seconds,)))
    start, used = time.perf_counter(), time.process_time()
    futures = []
    for number in range(workers * rounds):
        futures.append(client.submit(_sleep, cluster.code(), packed, key=f"{start}-{number}"))
    wait(futures)
    each = (time.process_time() - used) / len(futures)
    return rounds * seconds / (time.perf_counter() - start), each


def simulate(client, recorded, faster, sleep=time.sleep):
    """Does all tasks of a board by sleeping.

    Args:
        client: of the scheduler.
        recorded: a list of `benchmarks.recorded.Recorded`.
        faster: by what factor each is shorter.
        sleep: what a task calls with its seconds, a function of a module.

    Returns:
        The seconds that all took together, and the CPU seconds of one task.
    """
    start, used, futures = time.perf_counter(), time.process_time(), {}
    for one in recorded:
        packed = pickle.dumps((sleep, (one.seconds / faster,)))
        after = [futures[name] for name in one.after]
        key = f"{one.name}-{start}"
        futures[one.name] = client.submit(_sleep, cluster.code(), packed, after, key=key)
    wait(list(futures.values()))
    each = (time.process_time() - used) / len(futures)
    return time.perf_counter() - start, each


def _sleep(code, packed, after=()):
    del code, after
    work, arguments = pickle.loads(packed)
    work(*arguments)


@contextlib.contextmanager
def connected(workers):
    """A client of a scheduler and workers in this process."""
    # Each worker looks at the stacks of all threads 100 times a second, and here these are the
    # threads of all workers.
    alone = {"distributed.worker.profile.enabled": False}
    # A worker has a share of the memory, and pauses when its process takes more.
    settings = {"processes": False, "threads_per_worker": 1, "memory_limit": 0, "silence_logs": 50}
    with (
        dask.config.set(alone),
        LocalCluster(n_workers=workers, dashboard_address="127.0.0.1:0", **settings) as there,
        Client(there) as client,
    ):
        share(client, workers, 0.01, 1)
        yield client


def _of_equal_tasks(given):
    print("workers  seconds of a task  share of work  CPU milliseconds of a task")
    for workers in given.workers:
        with connected(workers) as client:
            for seconds in given.seconds:
                found, each = share(client, workers, seconds, given.rounds)
                row = f"{workers:7}  {seconds:17g}  {found:13.2f}  {1000 * each:26.1f}"
                print(row, flush=True)


def _of_a_board(given):
    # TensorFlow is imported here.
    from benchmarks import recorded

    tasks = recorded.recorded_tasks(given.board, given.times, given.other)
    total = sum(one.seconds for one in tasks)
    chain = recorded.longest_chain(tasks)
    print(f"{len(tasks)} tasks of {total:.0f} s together; the longest chain: {chain:.0f} s.")
    print(f"All seconds are those of the board. It is simulated {given.faster:g} times as fast.")
    print("workers  seconds  least possible  share of work  CPU milliseconds of a task")
    for workers in given.workers:
        with connected(workers) as client:
            spent, each = simulate(client, tasks, given.faster)
        least, spent = max(total / workers, chain), spent * given.faster
        busy = total / workers / spent
        row = f"{workers:7}  {spent:7.0f}  {least:14.0f}  {busy:13.2f}  {1000 * each:26.1f}"
        print(row, flush=True)
        most = total / len(tasks) / each
        print(f"         Dask takes all of a core from about {most:.0f} workers on.", flush=True)


def main(argv=None):
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, nargs="+", default=[2, 8, 64])
    parser.add_argument("--seconds", type=float, nargs="+", default=[0.1, 0.3, 1.0, 3.0, 10.0])
    parser.add_argument("--rounds", type=int, default=4, help="tasks of each worker")
    parser.add_argument("--board", help="the YAML file of a leaderboard, whose tasks are simulated")
    parser.add_argument("--times", help="times.csv of one with such rows")
    parser.add_argument("--faster", type=float, default=1.0, help="by this factor")
    parser.add_argument(
        "--other", type=float, default=1.0, help="seconds of a task that is not recorded"
    )
    given = parser.parse_args(argv)
    if bool(given.board) != bool(given.times):
        parser.error("--board and --times belong together")
    if given.board:
        _of_a_board(given)
    else:
        _of_equal_tasks(given)


if __name__ == "__main__":
    main()

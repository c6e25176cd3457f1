"""How short tasks may be until Dask is the limit: `python -m benchmarks.scheduler`.

The workers are threads of this process, as is the scheduler, and their tasks sleep. So one core
does all that a real scheduler does, and what workers on machines of their own do as well. The share
of the time that a worker sleeps is what is left for real work. The CPU time of a task does not
depend on what else the machine does: N workers need tasks of N times as much at least.

A task is sent as `tfvn.cluster` sends it: packed, with the terms that a worker compares.
"""

import argparse
import pickle
import time

from distributed import Client, LocalCluster, wait

from tfvn import cluster

__all__ = ["main", "share"]


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


def _sleep(code, packed):
    del code
    work, arguments = pickle.loads(packed)
    work(*arguments)


def main(argv=None):
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, nargs="+", default=[2, 8, 64])
    parser.add_argument("--seconds", type=float, nargs="+", default=[0.1, 0.3, 1.0, 3.0, 10.0])
    parser.add_argument("--rounds", type=int, default=4, help="tasks of each worker")
    given = parser.parse_args(argv)
    print("workers  seconds of a task  share of work  CPU milliseconds of a task")
    for workers in given.workers:
        settings = {"processes": False, "threads_per_worker": 1, "silence_logs": 50}
        with (
            LocalCluster(workers, dashboard_address="127.0.0.1:0", **settings) as there,
            Client(there) as client,
        ):
            share(client, workers, 0.01, 1)
            for seconds in given.seconds:
                found, each = share(client, workers, seconds, given.rounds)
                row = f"{workers:7}  {seconds:17g}  {found:13.2f}  {1000 * each:26.1f}"
                print(row, flush=True)


if __name__ == "__main__":
    main()

"""How short tasks may be until Dask is the limit: `python -m benchmarks.scheduler`.

The workers are threads of this process, as is the scheduler, and their tasks sleep. So all that a
real scheduler does is done, and what its workers would do on machines of their own as well, on one
core together. The share of the time that a worker sleeps is what would be left for real work.

A task is sent as `tfvn.cluster` sends it: packed, with the terms that a worker compares.
"""

import argparse
import pickle
import time

from distributed import Client, LocalCluster, wait

from tfvn import cluster

__all__ = ["main", "share"]


def share(client, workers, seconds, rounds):
    """The share of their time that workers spend in tasks of so many seconds, `rounds` each."""
    packed = pickle.dumps((time.sleep, (seconds,)))
    start = time.perf_counter()
    futures = []
    for number in range(workers * rounds):
        futures.append(client.submit(_sleep, cluster.code(), packed, key=f"{start}-{number}"))
    wait(futures)
    return rounds * seconds / (time.perf_counter() - start)


def _sleep(code, packed):
    del code
    work, arguments = pickle.loads(packed)
    work(*arguments)


def main(argv=None):
    """Prints a table: workers, seconds of a task, share of the time that is work."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, nargs="+", default=[2, 8, 64])
    parser.add_argument("--seconds", type=float, nargs="+", default=[0.1, 0.3, 1.0, 3.0, 10.0])
    parser.add_argument("--rounds", type=int, default=4, help="tasks of each worker")
    given = parser.parse_args(argv)
    print("workers  seconds of a task  share of work")
    for workers in given.workers:
        settings = {"processes": False, "threads_per_worker": 1, "silence_logs": 50}
        with (
            LocalCluster(workers, dashboard_address="127.0.0.1:0", **settings) as there,
            Client(there) as client,
        ):
            share(client, workers, 0.01, 1)
            for seconds in given.seconds:
                found = share(client, workers, seconds, given.rounds)
                print(f"{workers:7}  {seconds:17g}  {found:13.2f}", flush=True)


if __name__ == "__main__":
    main()

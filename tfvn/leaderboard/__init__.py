"""The leaderboard: models beside each other, on the same slices, under the same attacks.

    python -m tfvn leaderboard configs/leaderboard/quick.yaml

A board is one YAML file. All that is computed for it lies under the hash of what it was made of.
"""

from tfvn.leaderboard import (
    adding,
    addresses,
    board,
    certified,
    checklist,
    entrant,
    floors,
    heat,
    intervals,
    labels,
    named,
    page,
    pareto,
    plan,
    ranking,
    run,
    schema,
    shown,
    store,
    submission,
    summary,
    tasks,
    told,
    transfers,
)

__all__ = [
    "adding",
    "addresses",
    "board",
    "certified",
    "checklist",
    "entrant",
    "floors",
    "heat",
    "intervals",
    "labels",
    "named",
    "page",
    "pareto",
    "plan",
    "ranking",
    "run",
    "schema",
    "shown",
    "store",
    "submission",
    "summary",
    "tasks",
    "told",
    "transfers",
]

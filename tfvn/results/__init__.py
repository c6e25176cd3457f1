"""From runs to tables, figures and a report."""

from tfvn.results import aggregate, evaluate, measure, report, sweep, wording

__all__ = ["aggregate", "evaluate", "measure", "report", "sweep", "wording"]

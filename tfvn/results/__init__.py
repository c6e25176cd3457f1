"""From runs to tables, figures and a report."""

from tfvn.results import evaluate, report

__all__ = ["evaluate", "report"]

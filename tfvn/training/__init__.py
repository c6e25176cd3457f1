"""Training: the step, its optimizers, and what is logged of it."""

from tfvn.training.trainer import OPTIMIZERS, Trainer

__all__ = ["OPTIMIZERS", "Trainer"]

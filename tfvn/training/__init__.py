"""Training: the step, its recipes and optimizers, the loop, and what is logged of it."""

from tfvn.training.optimizers import OPTIMIZERS
from tfvn.training.recipes import RECIPES, Clean, Noise
from tfvn.training.trainer import Trainer

__all__ = ["OPTIMIZERS", "RECIPES", "Clean", "Noise", "Trainer"]

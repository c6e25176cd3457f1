"""Adversarial attacks on anything with `.reconstruct`."""

from tfvn.attacks.ascent import AttackResult, ProjectedGradientAscent
from tfvn.attacks.penalised import PenalisedGradientAscent, keep_region

__all__ = ["AttackResult", "PenalisedGradientAscent", "ProjectedGradientAscent", "keep_region"]

"""Adversarial attacks on anything with `.reconstruct`."""
from tfvn.attacks.ascent import AttackResult, ProjectedGradientAscent

__all__ = ["AttackResult", "ProjectedGradientAscent"]

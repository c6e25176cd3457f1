"""Reconstruction models, and the files they are kept in."""

from tfvn.models.network_files import load_model
from tfvn.models.variational import VariationalNetwork

__all__ = ["VariationalNetwork", "load_model"]

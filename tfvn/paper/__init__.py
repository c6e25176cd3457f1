"""The paper's experiment, and the same on built-in data."""

from tfvn.paper import protocol

__all__ = ["protocol"]

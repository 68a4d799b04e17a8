"""Runs, compares and registers every iteration of a CIFAR-100 study with MLflow."""

__version__ = "0.1.0"

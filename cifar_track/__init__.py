"""Runs, compares and registers every iteration of a CIFAR-100 study with MLflow."""

import os

# Read when TensorFlow is imported, by whichever module does so first: what it says there of
# drivers and processor flags would stand between the lines that a person is meant to read.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

__version__ = "0.1.0"

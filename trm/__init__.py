"""Tiny Recursive Model: data, model, training, scoring and reports, as a library.

The package never imports snakemake, and importing it does not import torch: only the
modules that compute with tensors do.
"""

__version__ = "0.1.0"

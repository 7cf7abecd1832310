"""Modules that are more than a scalar function: norm-activations and, later, KAN layers, gates and sorters. Plain functions live in
``slaf.zoo`` and learned ones in ``slaf.learnable``. Imports core and kernels alone.
"""

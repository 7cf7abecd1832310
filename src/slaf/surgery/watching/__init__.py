"""Watching one run of a model: which callables are which nonlinearity, who calls them, on what; nothing is decided or changed here.

Imports the rewriting of sources for the places of calls, and the rooms below.
"""

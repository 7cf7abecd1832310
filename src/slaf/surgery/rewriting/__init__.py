"""Rewriting the source of a method so that a call in it goes to a submodule: where a call is written, how, and the subclass that results.

Imports core alone.
"""

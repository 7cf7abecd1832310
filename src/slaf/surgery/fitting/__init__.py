"""Fitting an activation from the mini-language to the one it replaces, on the inputs that were measured. Imports the rooms below."""

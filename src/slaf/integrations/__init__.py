"""slaf inside other libraries: transformers, timm, Lightning. Each file imports its library on first use. Imports surgery and below.

``slaf.integrations.transformers.register("rational(5,4)")``, ``slaf.integrations.timm.act_layer("rational(5,4)")``, and for
transformers and Lightning a ``ProbeCallback``, which watches activations, and an ``AnnealCallback``, which exchanges them gradually.
"""

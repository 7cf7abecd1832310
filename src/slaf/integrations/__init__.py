"""slaf inside other libraries: transformers, timm, Lightning. Each file imports its library on first use. Imports surgery and below."""

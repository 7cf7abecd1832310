"""Fixed and parametric closed forms, one small file each: a bare function with its ``Facts``. Imports core alone."""

"""The studies, one file each: data, slots, model, recipe and metrics of one workload. A new file here is found by itself. Nothing that two
studies share beyond small helpers lives here: running, keeping and reporting is ``slaf.compare``'s. Imports everything below.
"""

from slaf.compare.study import studies

# the registry imports the modules of this package when a study is first asked for
studies.scan("slaf.studies")

__all__ = ["studies"]

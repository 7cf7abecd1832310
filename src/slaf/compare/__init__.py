"""``Study`` and its registry, and the comparison of activations within one: plan → run → store → table → report.

No workload lives here (they are in ``studies``) and nothing here knows one by name. Imports core, data, train and lower.

The package can be called: ``slaf.compare(…)`` is :func:`slaf.compare.api.compare`.
"""

from slaf.core.rooms import make_callable

from .api import compare
from .merge import merge
from .plan import Plan, Trial, list_studies, make_plan
from .report import comparison_of, write_report
from .run import Event, Interrupted, WorkerError, processors, run_plan
from .settings import options_of
from .store import Store, check_folder, load
from .study import Data, Make, Study, register_study, studies
from .table import Comparison, Row, tabulate
from .trial import run_trial
from .worker import import_modules

__all__ = [
    "Comparison",
    "Data",
    "Event",
    "Interrupted",
    "Make",
    "Plan",
    "Row",
    "Store",
    "Study",
    "Trial",
    "WorkerError",
    "check_folder",
    "compare",
    "comparison_of",
    "import_modules",
    "list_studies",
    "load",
    "make_plan",
    "merge",
    "options_of",
    "processors",
    "register_study",
    "run_plan",
    "run_trial",
    "studies",
    "tabulate",
    "write_report",
]

make_callable(__name__, compare)

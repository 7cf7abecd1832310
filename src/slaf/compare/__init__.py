"""``Study`` and its registry, and the comparison of activations within one: plan → run → store → table → report.

No workload lives here (they are in ``studies``) and nothing here knows one by name. Imports core, train and lower.
"""

from .plan import Plan, Trial, make_plan
from .report import comparison_of, write_report
from .run import Event, Interrupted, WorkerError, run_plan
from .store import Store, load
from .study import Data, Make, Study, register_study, studies
from .table import Comparison, Row, tabulate
from .trial import run_trial

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
    "comparison_of",
    "load",
    "make_plan",
    "register_study",
    "run_plan",
    "run_trial",
    "studies",
    "tabulate",
    "write_report",
]

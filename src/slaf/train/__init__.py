"""Training: parameter groups, the SLAF paper's routines (penalties, the separate step, alternating updates, hybrid networks), recipes,
one readable loop, on one device or several, and TensorBoard's files. No model and no data set live here. Imports core alone; it may import
every floor up to ``learnable`` and ``layers``.
"""

from .batches import rows_at_once
from .boundary import boundary_loss
from .clipping import clip_selectively, clippable
from .distillation import distillation_loss
from .fabric import synchronize
from .formula import Regression, symbolic_regression
from .groups import activation_parameters, is_activation, param_groups
from .hybrids import hybrid
from .launcher import launch
from .lecun import lecun_normal_
from .loop import Trace, evaluate, train
from .penalties import L1, L2, DegreeWeighted, Penalty, SecondOrderTotalVariation, Sum, activation_coefficients
from .recipe import Recipe
from .screening import Verdict, screen
from .seeds import derive, generator, stream
from .tensorboard import TensorBoard
from .updates import Alternation, separate_step

__all__ = [
    "L1",
    "L2",
    "Alternation",
    "DegreeWeighted",
    "Penalty",
    "Recipe",
    "Regression",
    "SecondOrderTotalVariation",
    "Sum",
    "TensorBoard",
    "Trace",
    "Verdict",
    "activation_coefficients",
    "activation_parameters",
    "boundary_loss",
    "clip_selectively",
    "clippable",
    "derive",
    "distillation_loss",
    "evaluate",
    "generator",
    "hybrid",
    "is_activation",
    "launch",
    "lecun_normal_",
    "param_groups",
    "rows_at_once",
    "screen",
    "separate_step",
    "stream",
    "symbolic_regression",
    "synchronize",
    "train",
]

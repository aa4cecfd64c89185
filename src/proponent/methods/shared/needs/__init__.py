"""The contract for writing a method, and the vocabulary of needs: everything that a method may ask for.

A method is a module with a function ``attribute(<needs>, *, <hyper-parameters>)`` that returns scores (n_query, n_train).
The signature is the contract. It is read from the source when a run is planned, so planning imports no torch.

- **Positional arguments are needs**, chosen by name from :data:`NEEDS`. The inputs of the method's rule follow from them,
  and the attribution step calls the function once per member of the ensemble.
- **Keyword-only arguments are hyper-parameters**, with annotations and defaults. The method's YAML sets them. This is
  their only declaration: name, type, default and, in the docstring, meaning.

Further functions of the module are optional:

- ``self_influence(<the same needs>, *, <hyper-parameters>)`` returns the score of each training example on its own
  ``-loss``, (n_train,); large values are suspicious. It names those hyper-parameters of ``attribute`` that it uses, without
  defaults, and receives the values of the YAML or, where the YAML has none, the defaults of ``attribute``. A module
  constant ``SELF_INFLUENCE = {"damping": 0.01}`` replaces defaults of ``attribute`` that do not suit self-influence.
- ``finish(scores, <needs>)`` turns the scores, combined over all members, into the final ones. It may ask for ``data``,
  ``retrainings`` and ``permutations``, but for nothing that belongs to a member.
- ``group_scores(stored, masks)`` returns the predicted effects of groups, (n_subsets, n_query), from the mapping that
  ``attribute`` returned, where the effect of a group is not the sum of its scores. Such a method uses one member.

``attribute`` may return, instead of a tensor:

- a tuple of tensors: each of them is averaged over the members *separately*, and their product is the score (TRAK);
- a mapping with an entry ``scores``: scalar tensors among the other entries are averaged over the members and recorded in
  the manifest, other tensors are stored next to the scores where the method uses one member.

Constants of the module restrict where the method runs, for example ``TASKS = ("classification",)``; see
``docs/adding-a-method.md``. A module whose only need is ``data`` may declare ``ARRAYS = "numpy"``: it then receives and
returns NumPy arrays, and its step starts without torch (:mod:`proponent.methods.shared.array_needs`).

A *checkpoint* is named by the fraction of training at which it was saved: ``1.0`` is the final model, and ``0.0625`` is
the saved checkpoint nearest (in ratio) to one sixteenth of all steps.

Gradients of queries are those of the *target* f (higher = better). Gradients of training examples are those of the *base* b
of the task, and the gradient of an example's loss is ``-loss_weight * grad b``. For classification, b is its own target
log(p / (1 - p)), and loss_weight = 1 - p; where the loss is not a function of the target, b = -loss with weight 1. Weights
of classes and of examples multiply ``loss_weight``. One set of gradients serves every method.
"""

from __future__ import annotations

from proponent.methods.shared.needs.curvature_needs import (
    Curvature,
    KroneckerBasis,
    Network,
    RotatedGradients,
    Stage,
)
from proponent.methods.shared.needs.data_needs import Data, Scores, Texts, TextStates
from proponent.methods.shared.needs.gradient_needs import GradientBlock, GradientPair, Gradients, TargetPair
from proponent.methods.shared.needs.output_needs import (
    OutputPair,
    Outputs,
    RepresentationPair,
    Representations,
)
from proponent.methods.shared.needs.replay_needs import Replay, ReplayPoint, ReplayStep
from proponent.methods.shared.needs.retraining_needs import Permutations, Retrainings
from proponent.methods.shared.workspace import Workspace

NEEDS = (
    "data",
    "texts",
    "gradients",
    "outputs",
    "representations",
    "network",
    "replay",
    "retrainings",
    "permutations",
    "scores",
    "workspace",
)
"""Names that a positional argument may have. ``workspace`` is a :class:`Workspace`: it tells a method which dampings will be
asked for, and keeps one value from call to call. All others are the protocols of this package with the same name."""

__all__ = [
    "NEEDS",
    "Curvature",
    "Data",
    "GradientBlock",
    "GradientPair",
    "Gradients",
    "KroneckerBasis",
    "Network",
    "OutputPair",
    "Outputs",
    "Permutations",
    "Replay",
    "ReplayPoint",
    "ReplayStep",
    "RepresentationPair",
    "Representations",
    "Retrainings",
    "RotatedGradients",
    "Scores",
    "Stage",
    "TargetPair",
    "TextStates",
    "Texts",
    "Workspace",
]

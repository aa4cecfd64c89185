"""A block: the gradients of n examples with respect to all trainable parameters, in one of two forms.

The columns are laid out in the order of ``module.named_parameters()``, each tied parameter once.
"""

from __future__ import annotations

from proponent.features.gradients.dense_gradients import DenseGradients
from proponent.features.gradients.factored_gradients import FactoredGradients

Block = FactoredGradients | DenseGradients

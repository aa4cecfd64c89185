"""AirRep (Sun et al. 2025, "Enhancing training data attribution with representational optimization") with a text encoder.

As in the paper, a pretrained text encoder is tuned on retrainings, so that attention over a subset S predicts the target
of query q after training on S:

    f(q, S) = sum over i in S of a_i <e_q, e_i>,      a = softmax over S of |<e_q, e_i>|

The encoder reads a text with its label: the name of its class, or its answer. It is MiniLM, the mean over the tokens of its
last layer and a linear layer; the paper tunes GTE-small. The loss and the bound of the products are those of
:mod:`proponent.methods.learned.airrep`, whose encoder is a small network on the representations of the model.

``scores[q, i] = 20 tanh(<e_q, e_i> / 20)`` is the effect of a single example. The effect of a group is not a sum of scores,
and the LDS uses :func:`group_scores`.

Shapes: (n_query, n_train). Cost: per step, a pass of 160 texts through the upper layers. The model itself is not used.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from proponent.memory_budget import MIB
from proponent.methods.shared.needs import Retrainings, Texts, Workspace
from proponent.methods.shared.problem_size import ProblemSize
from proponent.methods.shared.retrained_targets import standardised_targets
from proponent.methods.shared.subset_attention import attended, bounded_products
from proponent.methods.shared.text_encoder import TextEncoder, embedded, tune
from proponent.seeds import derive_seed

INPUTS = "tokens"
RANGES = {"steps": "[0, inf)", "layers": "[1, 6]", "length": "[8, 512]", "learning_rate": "(0, inf)"}

_NUMBERS_PER_TOKEN = 384
_ENCODER_MIB = 1000.0
"""Weights, optimiser state and the pass of a step."""


def attribute(
    texts: Texts,
    retrainings: Retrainings,
    workspace: Workspace,
    *,
    steps: int = 200,
    layers: int = 1,
    learning_rate: float = 0.0003,
    length: int = 48,
    seed: int = 0,
) -> dict[str, Tensor]:
    """Return ``scores`` (n_query, n_train), and the embeddings ``query`` (n_query, d) and ``train`` (n_train, d).

    Args:
        texts: examples and queries as texts with their labels.
        retrainings: retrainings of the ``fit`` design.
        workspace: keeps the states of the texts from candidate to candidate.
        steps: number of steps of AdamW with which the encoder is tuned; 0 leaves it as it is.
        layers: number of layers of MiniLM that are tuned, from the last one; 6 are all.
        learning_rate: learning rate of AdamW.
        length: tokens per text, after which texts are cut.
        seed: seed of the samples.
    """
    states = workspace.keep(texts, (length, layers), lambda: texts.states(length, layers))
    wanted = standardised_targets(retrainings.targets)
    encoder = TextEncoder(texts.upper_layers(layers), states["train"])
    tune(
        encoder,
        states,
        retrainings.masks,
        wanted,
        steps=steps,
        learning_rate=learning_rate,
        seed=derive_seed(seed, "airrep-text"),
    )
    embeddings = {part: embedded(encoder, own) for part, own in states.items()}
    return {"scores": bounded_products(embeddings), **embeddings}


def group_scores(stored: Mapping[str, Tensor], masks: Tensor) -> Tensor:
    """Return f(q, S) for each subset, (n_subsets, n_query).

    Args:
        stored: tensors that :func:`attribute` returned.
        masks: subsets, (n_subsets, n_train) bool, True = kept.
    """
    return attended(bounded_products(stored), masks)


def memory(size: ProblemSize, queries: int, *, length: int) -> float:
    """Return the memory in MiB: the states of all texts, and the tuning of the encoder."""
    texts = size.n_train + size.n_query
    return _ENCODER_MIB + 4 * _NUMBERS_PER_TOKEN * length * texts / MIB + size.scores()

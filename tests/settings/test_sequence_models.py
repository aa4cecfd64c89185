"""Networks for texts, music and pairs: what they compute, and that padding changes no training and no score."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import proponent
from proponent.config.recipe_schema import Optimizer, RecipeConfig
from proponent.errors import UserError
from proponent.rows import NamedRows, Rows
from proponent.settings.causal_transformer import CausalAttention, by_end, causal_transformer, skewed
from proponent.settings.docstrings import text_classifier
from proponent.settings.encoder_decoder import encoder_decoder
from proponent.settings.minilm import PACKAGE, UpperLayers, lower_states, minilm_classifier, tokenize
from proponent.settings.tasks import IGNORED, get_task
from proponent.settings.two_encoders import pictures_in_unit_range, two_encoders
from proponent.training.designs import member_run
from proponent.training.lockstep import train
from registry_data import need_package

N, TOKENS = 9, 12


def texts(length: int) -> Tensor:
    """Return token numbers from 2, of which every second text ends in padding, with padding up to ``length``."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(2, TOKENS, (N, 5), generator=generator)
    ids[::2, 3:] = 0
    return torch.nn.functional.pad(ids, (0, length - 5))


def classes(length: int) -> tuple[Rows, Tensor]:
    return texts(length), torch.arange(N) % 2


def next_tokens(length: int) -> tuple[Rows, Tensor]:
    ids = texts(length)
    following = torch.cat([ids[:, 1:], torch.zeros_like(ids[:, :1])], 1)
    return ids, torch.where(following > 0, following, IGNORED)


def answers(length: int) -> tuple[Rows, Tensor]:
    ids, answer = texts(length), texts(5)[:, :3].flip(0).clamp(min=2)
    before = torch.cat([torch.ones_like(answer[:, :1]), answer[:, :-1]], 1)
    rows = {"attention_mask": (ids > 0).long(), "decoder_input_ids": before, "input_ids": ids}
    return NamedRows(rows), answer


def states(length: int) -> tuple[Rows, Tensor]:
    """Return states of a text encoder, which are not 0 where there is padding."""
    ids = texts(length)
    values = torch.randn(N, 1, 8, generator=torch.Generator().manual_seed(1))
    values = torch.where((ids > 0)[..., None], values + ids[..., None] / 5, 7.0)
    return NamedRows({"attention_mask": (ids > 0).long(), "states": values}), torch.arange(N) % 2


class SmallStates(nn.Module):
    """What :class:`UpperLayers` does to its encoder's states, with a small encoder of the same architecture."""

    def __init__(self) -> None:
        super().__init__()
        from transformers import BertConfig, BertModel

        from proponent.settings.minilm import _GivenStates

        config = BertConfig(
            hidden_size=8, num_attention_heads=2, intermediate_size=8, num_hidden_layers=1, hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
        )  # fmt: skip
        self.encoder = BertModel(config, add_pooling_layer=False)
        self.encoder.embeddings = _GivenStates()
        self.head = nn.Linear(8, 2)

    pooled = UpperLayers.pooled
    forward = UpperLayers.forward


CASES: dict[str, tuple[Callable[[], nn.Module], Callable[[int], tuple[Rows, Tensor]], Any]] = {
    "bag of words": (lambda: text_classifier(TOKENS, 4, 4, 2), classes, "classification"),
    "gpt": (lambda: causal_transformer(TOKENS, 9, width=8, heads=2, layers=1), next_tokens, "language-model"),
    "gpt, sum": (
        lambda: causal_transformer(TOKENS, 9, width=8, heads=2, layers=1),
        next_tokens,
        {"name": "language-model", "reduction": "sum"},
    ),
    "relative": (
        lambda: causal_transformer(TOKENS, 9, width=8, heads=2, layers=1, relative=True),
        next_tokens,
        "language-model",
    ),
    "encoder-decoder": (lambda: encoder_decoder(TOKENS, 9, width=8, heads=2), answers, "seq2seq"),
    "minilm": (SmallStates, states, "classification"),
}
METHODS = ("graddot", "trak", "if-cg", "kfac", "ekfac")
OF_ONE_REPRESENTATION = ("similarity-cosine",)
"""Methods that are compared for the bag of words only, whose last layer has one input per text."""


def seeded_model(make: Callable[[], nn.Module], seed: int) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return make().double()


def given(x: Rows) -> Any:
    return dict(x.tensors) if isinstance(x, NamedRows) else x


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_more_padding_changes_no_score_and_no_training(case):
    """Features, curvature, representations and a training in lockstep are those of the same texts with less padding."""
    make, data, task = CASES[case]
    model = seeded_model(make, 0)
    scores, trained = [], []
    for length in (5, 8):
        x, y = data(length)
        x = (
            x.map(lambda value: value.double() if value.is_floating_point() else value)
            if not isinstance(x, Tensor)
            else x
        )
        rows = (given(x[:6]), y[:6]), (given(x[6:]), y[6:])
        methods = [*METHODS, *(OF_ONE_REPRESENTATION if case == "bag of words" else ())]
        scores.append(
            [proponent.Attributor(name, model, rows[0], task=task).attribute(rows[1]) for name in methods]
        )
        recipe = RecipeConfig(optimizer=Optimizer.adamw, lr=0.05, epochs=2, batch_size=3)
        config = get_task(_task_config(task))
        found = train(
            lambda seed: seeded_model(make, seed),
            x[:6],
            y[:6],
            config,
            recipe,
            [member_run(0, m) for m in range(2)],
        )
        trained.append(found.state)
    for name, one, other in zip(methods, *scores, strict=True):
        scale = float(one.abs().max())
        assert scale > 0, name
        torch.testing.assert_close(
            one, other, rtol=0, atol=1e-5 * scale, msg=lambda text, name=name: f"{case}: {name}: {text}"
        )
    for name, value in trained[0].items():
        rest = trained[1][name]
        torch.testing.assert_close(value, rest, rtol=1e-6, atol=1e-8, msg=f"{case}: {name}")


def _task_config(task: Any) -> Any:
    from proponent.config.model_schema import TaskConfig

    return task if isinstance(task, str) else TaskConfig(task["name"], {"reduction": task["reduction"]})


def test_relative_attention_by_its_definition():
    """Position i attends to j with q_i . (k_j + e_(i-j)) / sqrt(d), one pair at a time."""
    torch.manual_seed(0)
    attention = CausalAttention(8, 2, length=6).double()
    x = torch.randn(3, 4, 8, dtype=torch.float64)
    inputs = attention.inputs(x).reshape(3, 4, 3, 2, 4)
    expected = torch.empty(3, 4, 2, 4, dtype=torch.float64)
    for n in range(3):
        for head in range(2):
            query, key, value = inputs[n, :, :, head].unbind(1)
            for i in range(4):
                logits = torch.stack(
                    [query[i] @ (key[j] + attention.distances[head, i - j]) / 2 for j in range(i + 1)]
                )
                expected[n, i, head] = logits.softmax(0) @ value[: i + 1]
    torch.testing.assert_close(attention(x), attention.output(expected.flatten(2)))


def test_products_are_moved_to_pairs_of_positions():
    products = torch.arange(32.0).reshape(2, 4, 4)  # by position and distance
    states = torch.eye(4).expand(2, 4, 4)
    found = skewed(states @ by_end(products.mT).mT)
    for i in range(4):
        for j in range(i + 1):
            assert torch.equal(found[:, i, j], products[:, i, i - j])


def test_plain_attention_is_that_of_torch():
    torch.manual_seed(0)
    attention, x = CausalAttention(8, 2), torch.randn(2, 5, 8)
    plain = nn.MultiheadAttention(8, 2, batch_first=True)
    plain.load_state_dict(
        {
            "in_proj_weight": attention.inputs.weight,
            "in_proj_bias": attention.inputs.bias,
            "out_proj.weight": attention.output.weight,
            "out_proj.bias": attention.output.bias,
        }
    )
    mask = torch.ones(5, 5, dtype=torch.bool).triu(1)
    torch.testing.assert_close(attention(x), plain(x, x, x, attn_mask=mask)[0])


@pytest.mark.parametrize("make", [causal_transformer, encoder_decoder])
def test_heads_divide_the_width(make):
    with pytest.raises(UserError, match=r"width \(10\) must be a multiple of heads \(4\)"):
        make(TOKENS, 8, width=10, heads=4)


def test_similarities_of_pairs_by_their_definition():
    torch.manual_seed(0)
    model = two_encoders(TOKENS, width=6, channels=[4]).double()
    image = torch.randint(256, (2, 3, 4, 4), dtype=torch.uint8)
    others = torch.randint(256, (2, 3, 3, 4, 4), dtype=torch.uint8)
    titles = torch.randint(1, TOKENS, (2, 4, 5))
    titles[0, 0, 3:] = 0
    rows = pictures_in_unit_range(image, titles[:, 0], others, titles[:, 1:])
    found = model(**{name: v.double() if v.is_floating_point() else v for name, v in rows.items()})
    assert found.shape == (2, 2, 4)

    def seen(picture: Tensor) -> Tensor:
        vector = model.pictures(picture[None].double() / 255)[0]
        return vector / vector.norm()

    def read(title: Tensor) -> Tensor:
        vector = model.titles(model.words(title[title > 0]).mean(0))
        return vector / vector.norm()

    for n in range(2):
        for place in range(4):
            other = image[n] if place == 0 else others[n, place - 1]
            scale = model.log_scale.exp()
            torch.testing.assert_close(found[n, 0, place], scale * seen(image[n]) @ read(titles[n, place]))
            torch.testing.assert_close(found[n, 1, place], scale * seen(other) @ read(titles[n, 0]))


@pytest.mark.slow
def test_lower_and_upper_layers_are_the_whole_encoder():
    """The oracle is the model of transformers with all six layers; adapters start as no change."""
    need_package(PACKAGE)
    from proponent.settings.minilm import _config, _transformers, _weights

    ids, mask, names = tokenize(["a short text", "a somewhat longer text, with more words"], 12)
    assert [names[token] for token in ids[0][:5]] == ["[CLS]", "a", "short", "text", "[SEP]"]
    assert mask.sum(1).tolist() == [5, 10] and len(names) == 30522
    whole = _transformers().BertModel(_config(6), add_pooling_layer=False).eval()
    whole.load_state_dict({name: _weights()[name] for name in whole.state_dict()})
    with torch.no_grad():
        states = whole(
            input_ids=torch.from_numpy(ids), attention_mask=torch.from_numpy(mask)
        ).last_hidden_state
        mean = torch.stack([row[: int(kept.sum())].mean(0) for row, kept in zip(states, mask, strict=True)])
        for layers, rank in ((1, 8), (2, None)):
            model = minilm_classifier(3, layers, rank)
            found = model(torch.from_numpy(lower_states(ids, mask, 6 - layers)), torch.from_numpy(mask))
            torch.testing.assert_close(found, model.head(mean), rtol=1e-4, atol=1e-5)
            trained = {name for name, value in model.named_parameters() if value.requires_grad}
            assert {"head.weight", "head.bias"} <= trained
            assert rank is None or all("lora" in name for name in trained - {"head.weight", "head.bias"})
    assert not np.isnan(lower_states(ids, mask, 0)).any()
    for make, message in (
        (lambda: lower_states(ids, mask, 6), "must lie between 0 and 5, not 6"),
        (lambda: minilm_classifier(3, 7), "model.args.layers must lie between 1 and 6, not 7"),
    ):
        with pytest.raises(UserError, match=message):
            make()

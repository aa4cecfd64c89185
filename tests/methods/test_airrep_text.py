"""AirRep with a text encoder: the encoder as it begins, a step by hand, what it learns, and the texts that it reads."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from methods.fakes import Retrainings
from proponent.methods.learned import airrep_text
from proponent.methods.shared import text_encoder
from proponent.methods.shared.needs import TextStates, Workspace
from proponent.methods.shared.subset_attention import attended, bounded_products, pair_loss
from proponent.methods.shared.text_encoder import TextEncoder, embedded, tune
from proponent.settings.minilm import PACKAGE
from proponent.steps.io.stored_texts import Texts, texts_of, why_no_texts
from registry_data import need_package

GENERATOR = torch.Generator().manual_seed(0)
ABOUT = {
    "cars": ["the engine of my car is loud", "brakes and tyres for the truck", "a new clutch and gears"],
    "space": ["the shuttle reached its orbit", "a telescope saw the moon", "rockets and satellites of nasa"],
}


@pytest.fixture(scope="module")
def minilm() -> None:
    pytest.importorskip("transformers", reason="needs the extra [text]")
    need_package(PACKAGE)


class Mean(nn.Module):
    """A small encoder: one linear layer, and the mean over tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3, dtype=torch.float64)

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        """Return embeddings, (n, 3)."""
        kept = mask[..., None].to(states)
        return (self.layer(states) * kept).sum(1) / kept.sum(1)


def random_texts(n: int) -> TextStates:
    states = torch.randn(n, 5, 4, generator=GENERATOR, dtype=torch.float64)
    return TextStates(states, torch.ones(n, 5, dtype=torch.long))


@pytest.mark.slow
def test_the_encoder_begins_as_minilm_centred_and_scaled(minilm) -> None:
    """Whichever layers are tuned; the whole model of transformers is the oracle."""
    from transformers import BertModel

    from proponent.settings import minilm as settings

    texts = [text for group in ABOUT.values() for text in group]
    ids, mask, _ = settings.tokenize(texts, 12)
    whole = BertModel(settings._config(6), add_pooling_layer=False).eval()
    whole.load_state_dict({name: settings._weights()[name] for name in whole.state_dict()})
    with torch.no_grad():
        states = whole(torch.from_numpy(ids), torch.from_numpy(mask)).last_hidden_state.numpy()
    plain = np.stack([row[kept > 0].mean(0) for row, kept in zip(states, mask, strict=True)])
    centred = plain - plain.mean(0)
    expected = centred / np.sqrt((centred**2).sum(1).mean())
    for layers in (1, 2):
        readable = Texts(texts, texts[:1])
        own = readable.states(12, layers)["train"]
        found = embedded(TextEncoder(readable.upper_layers(layers), own), own).numpy()
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_step_on_everything_is_a_step_of_adamw_on_the_loss() -> None:
    texts = {"train": random_texts(20), "query": random_texts(6)}
    masks = torch.rand(12, 20, generator=GENERATOR) < 0.5
    wanted = torch.randn(12, 6, generator=GENERATOR, dtype=torch.float64)
    encoder = Mean()
    expected = copy.deepcopy(encoder)
    tune(encoder, texts, masks, wanted, steps=3, learning_rate=0.01, seed=0)
    optimizer = torch.optim.AdamW(expected.parameters(), lr=0.01)
    for _ in range(3):
        embeddings = {part: expected(own.states, own.mask) for part, own in texts.items()}
        loss = pair_loss(attended(bounded_products(embeddings), masks), wanted)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(expected.parameters(), 1.0)
        optimizer.step()
    torch.testing.assert_close(encoder.layer.weight, expected.layer.weight)


def test_examples_outside_a_sample_keep_their_latest_embeddings(monkeypatch) -> None:
    """Attention is over all 20 examples, of which a step passes 4; none is older than one round of samples."""
    monkeypatch.setattr(text_encoder, "_SAMPLED_EXAMPLES", 4)
    texts = {"train": random_texts(20), "query": random_texts(6)}
    masks = torch.rand(12, 20, generator=GENERATOR) < 0.5
    wanted = torch.randn(12, 6, generator=GENERATOR, dtype=torch.float64)
    encoder = Mean()
    before = copy.deepcopy(encoder)
    given: list[Tensor] = []
    plain = text_encoder.attended
    monkeypatch.setattr(
        text_encoder, "attended", lambda products, rows: given.append(products) or plain(products, rows)
    )
    tune(encoder, texts, masks, wanted, steps=6, learning_rate=0.01, seed=0)
    latest = embedded(before, texts["train"])
    first = bounded_products({"query": embedded(before, texts["query"]), "train": latest})
    queries = given[0].detach()
    torch.testing.assert_close(
        queries.sort(0).values, first.sort(0).values, msg="nothing is stale in the first step"
    )
    moved = (given[5].detach().sort(0).values - first.sort(0).values).abs().amax(0) > 1e-9
    assert moved.all(), "after five samples of four, every example has been passed again"


@pytest.mark.slow
def test_texts_of_the_class_that_raises_a_query_are_proponents(minilm) -> None:
    """The target of a query about cars grows with the share of texts about cars that were kept."""
    texts = [f"{text} {number}" for group in ABOUT.values() for text in group for number in range(4)]
    about_cars = torch.arange(24) < 12
    masks = torch.rand(60, 24, generator=GENERATOR).argsort(1) < 12
    share = (masks & about_cars).sum(1) / 12
    targets = torch.stack([share, -share], 1).float()
    queries = ["a car with a loud engine", "an orbit around the moon"]
    found = airrep_text.attribute(
        Texts(texts, queries),
        Retrainings(masks, targets),
        Workspace(),
        steps=40,
        learning_rate=1e-3,
        length=12,
    )
    assert found["scores"].shape == (2, 24)
    means = torch.stack([found["scores"][:, about_cars].mean(1), found["scores"][:, ~about_cars].mean(1)], 1)
    assert means[0, 0] > means[0, 1] and means[1, 1] > means[1, 0]
    predicted = airrep_text.group_scores(found, masks)
    for query in range(2):
        assert torch.corrcoef(torch.stack([predicted[:, query], targets[:, query]]))[0, 1] > 0.8


def test_a_text_is_read_with_its_label() -> None:
    names = ["[PAD]", "the", "capital", "of", "peru", "lima"]
    x = np.array([[1, 2, 3, 4, 0], [4, 0, 0, 0, 0]])
    assert texts_of(x, np.array([1, 0]), names, ["no", "yes"]) == ["yes: the capital of peru", "no: peru"]
    answered = {"input_ids": x, "attention_mask": (x > 0) * 1, "decoder_input_ids": np.zeros((2, 1), int)}
    answers = np.array([[5, -100], [2, 5]])
    assert texts_of(answered, answers, names, None) == ["the capital of peru lima", "peru capital lima"]
    assert texts_of(x, x, names, None) == ["the capital of peru", "peru"]


def test_tokens_without_names_are_said_to_be_no_texts(tmp_path) -> None:
    reason = why_no_texts(tmp_path)
    assert reason is not None and "give them as token_names of the dataset's Split" in reason
    (tmp_path / "token_names.json").write_text("[]")
    assert why_no_texts(tmp_path) is None

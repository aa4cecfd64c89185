"""Models and tokenizers of ``transformers`` from a folder that the user has downloaded, with adapters if asked for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from proponent.errors import UserError
from proponent.extras import how_to_install


def _transformers() -> Any:
    try:
        import transformers
    except ImportError as error:
        raise UserError(f"pretrained models need transformers; {how_to_install('transformers')}") from error
    return transformers


def _loaded(kind: str, folder: str, **options: Any) -> Any:
    """Return what a class of transformers loads from a folder; nothing is downloaded.

    Raises:
        UserError: the folder does not exist, or holds something else.
    """
    if not Path(folder).is_dir():
        raise UserError(f"{folder} is not a folder; place the files of the pretrained model there")
    try:
        return getattr(_transformers(), kind).from_pretrained(folder, local_files_only=True, **options)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{folder}: {kind} cannot load it ({' '.join(str(error).split())[:200]})") from error


def tokenizer_of(folder: str) -> Any:
    """Return the tokenizer of a folder; its token of the end stands for padding where it has none of its own.

    Raises:
        UserError: the folder has no tokenizer.
    """
    tokenizer = _loaded("AutoTokenizer", folder)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def token_names(tokenizer: Any) -> list[str]:
    """Return the names of the tokens of a tokenizer, in the order of their numbers."""
    return [str(name) for name in tokenizer.convert_ids_to_tokens(range(len(tokenizer)))]


def causal_language_model(
    folder: str, rank: int | None = None, target_modules: Sequence[str] | None = None
) -> nn.Module:
    """Return a language model such as GPT-2, Pythia, Llama or SmolLM2.

    Args:
        folder: folder of the pretrained model.
        rank: rank of adapters (LoRA), which then are all that is trained; None to train the whole model.
        target_modules: names of the layers that have adapters; None for the choice of peft for the architecture.

    Raises:
        UserError: the folder cannot be loaded, or peft is not installed.
    """
    return _adapted(_loaded("AutoModelForCausalLM", folder), rank, target_modules)


def sequence_classifier(
    folder: str, n_classes: int, rank: int | None = None, target_modules: Sequence[str] | None = None
) -> nn.Module:
    """Return a classifier of texts, such as BERT with a new linear layer; arguments as in :func:`causal_language_model`.

    Args:
        folder: folder of the pretrained model.
        n_classes: width of the output.
        rank: as above; the new layer is trained as well.
        target_modules: as above.
    """
    model = _loaded("AutoModelForSequenceClassification", folder, num_labels=n_classes)
    return _adapted(model, rank, target_modules, task="SEQ_CLS")


def sequence_to_sequence_model(
    folder: str, rank: int | None = None, target_modules: Sequence[str] | None = None
) -> nn.Module:
    """Return an encoder-decoder such as mT5; arguments as in :func:`causal_language_model`."""
    return _adapted(_loaded("AutoModelForSeq2SeqLM", folder), rank, target_modules)


def _adapted(
    model: nn.Module, rank: int | None, target_modules: Sequence[str] | None, task: str | None = None
) -> nn.Module:
    if rank is None:
        return model
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as error:
        raise UserError(f"model.args.rank needs peft; {how_to_install('peft')}") from error
    names = None if target_modules is None else list(target_modules)
    config = LoraConfig(task_type=task, r=rank, lora_alpha=2 * rank, target_modules=names)
    adapted: nn.Module = get_peft_model(model, config)
    return adapted


class PairsOfClip(nn.Module):
    """CLIP on a pair with others of its own: similarities as in :class:`~proponent.settings.two_encoders.TwoEncoders`.

    Args:
        clip: model of transformers with the encoders ``get_image_features`` and ``get_text_features``.
    """

    def __init__(self, clip: nn.Module) -> None:
        super().__init__()
        self.clip = clip

    def forward(self, image: Tensor, title: Tensor, other_images: Tensor, other_titles: Tensor) -> Tensor:
        """Return the similarities times the inverse temperature, (n, 2, 1 + K); the own partner is in column 0.

        Args:
            image: pictures, (n, 3, height, width).
            title: token numbers, (n, length), in which the last one that is not 0 ends the title.
            other_images: other pictures, (n, K, 3, height, width).
            other_titles: other titles, (n, K, length).
        """
        images = torch.cat([image[:, None], other_images], 1)
        titles = torch.cat([title[:, None], other_titles], 1)
        clip: Any = self.clip
        seen = _features(clip.get_image_features(pixel_values=images.flatten(0, 1)))
        flat = titles.flatten(0, 1)
        read = _features(clip.get_text_features(input_ids=flat, attention_mask=(flat != 0).long()))
        seen, read = (normalize(part, dim=-1).unflatten(0, images.shape[:2]) for part in (seen, read))
        to_titles, to_images = (seen[:, :1] * read).sum(-1), (read[:, :1] * seen).sum(-1)
        return clip.logit_scale.exp() * torch.stack([to_titles, to_images], 1)


def _features(found: Any) -> Tensor:
    """Return embeddings, which versions of transformers give alone or as the pooled output of a larger answer."""
    embeddings: Tensor = found if isinstance(found, Tensor) else found.pooler_output
    return embeddings


def clip_pairs(folder: str) -> nn.Module:
    """Return CLIP for pairs with others of their own.

    Args:
        folder: folder of the model, with weights, or with ``config.json`` alone for random ones.

    Raises:
        UserError: the folder cannot be loaded.
    """
    if any(Path(folder).glob("*.safetensors")) or any(Path(folder).glob("*.bin")):
        return PairsOfClip(_loaded("CLIPModel", folder))
    return PairsOfClip(_transformers().CLIPModel(_loaded("CLIPConfig", folder)))

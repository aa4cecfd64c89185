"""Datasets, models and preprocessing from factories that are named as ``"package.module:function"``."""

from __future__ import annotations

from torch import nn

from proponent.config.model_schema import FactoryConfig
from proponent.config.recipe_schema import Precision
from proponent.config.specifications.step_spec import ModelSpec
from proponent.errors import UserError
from proponent.settings.floating_types import converted_model
from proponent.settings.imported_callables import call_factory, function_of
from proponent.settings.model_preparation import prepare_model
from proponent.settings.preprocessing import Preprocess, put_in_front
from proponent.settings.split import Split


def build_dataset(config: FactoryConfig, seed: int) -> Split:
    """Call a dataset factory.

    Raises:
        UserError: :func:`.call_factory` fails, or the factory does not return a :class:`~proponent.settings.Split`.
    """
    split = call_factory(config, seed)
    if not isinstance(split, Split):
        raise UserError(
            f"dataset factory '{config.factory}' must return a proponent.settings.Split, "
            f"not a {type(split).__name__}"
        )
    return split


def build_model(config: FactoryConfig, seed: int, precision: Precision = Precision.float32) -> nn.Module:
    """Call a model factory; its random initialisation depends on ``seed`` alone.

    Args:
        config: factory of the model; that of a :class:`ModelSpec` may have a factory of preprocessing, which is called
            with the same seed for all models.
        seed: seed of the global generators during the call.
        precision: ``recipe.precision``, which decides the type of the parameters (:mod:`.floating_types`).

    Raises:
        UserError: :func:`.call_factory` fails, the factory does not return an ``nn.Module``, or the engines cannot train it.
    """
    model = call_factory(config, seed)
    if not isinstance(model, nn.Module):
        raise UserError(
            f"model factory '{config.factory}' must return a torch.nn.Module, not a {type(model).__name__}"
        )
    try:
        model = converted_model(prepare_model(model), precision)
    except UserError as error:
        raise UserError(f"model factory '{config.factory}': {error}") from error
    if not isinstance(config, ModelSpec) or config.preprocess is None:
        return model
    function = function_of(config.preprocess, "preprocess factory", "the inputs")
    return put_in_front(model, Preprocess(function, precision))

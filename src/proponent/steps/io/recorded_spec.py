"""The specification that a manifest records, as the dataclass of its step."""

from __future__ import annotations

from typing import TypeVar

from proponent.config.specifications.all_specs import SPECS
from proponent.config.specifications.restore import parse
from proponent.config.specifications.step_spec import StepSpec
from proponent.errors import UserError
from proponent.store.manifest import Manifest

S = TypeVar("S", bound=StepSpec)


def recorded_spec(manifest: Manifest, kind: type[S]) -> S:
    """Return the specification of the step that made an artefact.

    Args:
        manifest: record of the artefact.
        kind: expected class of the specification, or one that it inherits from.

    Raises:
        UserError: another version of proponent made the artefact, with other fields.
    """
    try:
        spec = parse(SPECS[manifest.step], manifest.spec)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{manifest.artefact}: its manifest is of another version ({error}); run snakemake again"
        ) from error
    if not isinstance(spec, kind):
        raise UserError(f"{manifest.artefact}: was made by '{manifest.step}'; run snakemake again")
    return spec

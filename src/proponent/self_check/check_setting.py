"""All checks of a setting, in the order in which a finding explains the following ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from proponent.errors import UserError
from proponent.self_check.batch_sizes import refuse_batch_sizes, refuse_lockstep
from proponent.self_check.hidden_state import behaviour_elsewhere, refuse_hidden_state
from proponent.self_check.method_needs import FEATURES, Trial, left_out
from proponent.self_check.other_process import in_fork
from proponent.self_check.output_kind import refuse_probabilities
from proponent.self_check.passes import refuse_disagreement, refuse_not_finite
from proponent.self_check.subject import Subject
from proponent.settings.split import check_model
from proponent.training.stack import refuse_batch_statistics


@dataclass(frozen=True)
class Report:
    """Result of a check without a finding that stops the setting.

    Attributes:
        left_out: reason by method that cannot run on the model.
        features: reason by kind of features that the model does not have.
    """

    left_out: dict[str, str]
    features: dict[str, str]


def check_setting(
    subject: Subject,
    uses: Mapping[str, tuple[str, ...]] | None = None,
    scores: Mapping[str, tuple[str, ...]] | None = None,
) -> Report:
    """Try a setting in seconds, on an untrained model.

    Args:
        subject: setting.
        uses: needs of each method, and their operations.
        scores: methods from whose scores a method starts, per method.

    Raises:
        UserError: the model cannot be trained or attributed on these data; one line with the cause and a way out.
    """
    elsewhere = in_fork(lambda: behaviour_elsewhere(subject))
    model = subject.build(0)
    check_model(model, subject.data, subject.task, subject.setting)
    try:
        refuse_batch_statistics(model)
        refuse_not_finite(subject, model)
        refuse_batch_sizes(subject, model)
        refuse_disagreement(subject, model)
        refuse_hidden_state(subject, elsewhere)
        refuse_lockstep(subject)
        refuse_probabilities(subject, model)
    except UserError as error:
        raise error if subject.setting in str(error) else subject.problem(str(error)) from error
    wanted = dict(uses or {})
    trial = Trial(subject)
    needed = [kind for kind in FEATURES if any(kind in own for own in wanted.values())]
    features: dict[str, str] = {kind: reason for kind in needed if (reason := trial.reason(kind))}
    return Report(left_out(trial, wanted, scores or {}), features)

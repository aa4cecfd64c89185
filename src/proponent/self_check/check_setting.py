"""All checks of a setting, in the order in which a finding explains the following ones."""

from __future__ import annotations

from collections.abc import Iterable

from proponent.errors import UserError
from proponent.self_check.augment_check import refuse_augment
from proponent.self_check.batch_sizes import refuse_batch_sizes, refuse_lockstep
from proponent.self_check.hidden_state import behaviour_elsewhere, refuse_hidden_state
from proponent.self_check.method_needs import Trial
from proponent.self_check.other_process import in_fork
from proponent.self_check.output_kind import refuse_probabilities
from proponent.self_check.passes import refuse_changes_of_state, refuse_disagreement, refuse_not_finite
from proponent.self_check.preprocess_check import refuse_preprocess
from proponent.self_check.subject import Subject
from proponent.settings.split import check_model
from proponent.training.stack import refuse_batch_statistics


def check_setting(subject: Subject, uses: Iterable[str] = ()) -> dict[str, str]:
    """Try a setting in seconds, on an untrained model or on one that is trained already.

    Args:
        subject: setting.
        uses: needs of methods and their operations, such as ``network.kronecker``.

    Returns:
        Reason by use that the model does not allow.

    Raises:
        UserError: the model cannot be trained or attributed on these data; one line with the cause and a way out.
    """
    elsewhere = in_fork(lambda: behaviour_elsewhere(subject))
    model = subject.model()
    refuse_preprocess(subject, model)
    check_model(model, subject.data, subject.task, subject.setting)
    try:
        refuse_batch_statistics(model, training=False)
        refuse_not_finite(subject, model)
        refuse_batch_sizes(subject, model)
        refuse_changes_of_state(subject, model)
        refuse_disagreement(subject, model)
        refuse_hidden_state(subject, elsewhere)
        refuse_augment(subject)
        refuse_lockstep(subject)
        refuse_probabilities(subject, model)
    except UserError as error:
        raise error if subject.setting in str(error) else subject.problem(str(error)) from error
    trial = Trial(subject)
    return {use: reason for use in uses if (reason := trial.reason(use))}

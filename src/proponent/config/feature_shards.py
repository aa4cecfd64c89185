"""Files of features, and the members of the ensemble that share each.

Gradients of a job's members are in one file. Outputs and representations of the first member have a file of their own, since
most methods use no other member: a run with such methods then computes no features of the others.
"""

from __future__ import annotations

from proponent.chunking import chunks

TOGETHER = "gradients"
"""Kind of features whose form depends on the memory of all members of a job."""


def feature_shards(kind: str, members: int, per_job: int) -> list[range]:
    """Return the members of each file, in order.

    Args:
        kind: ``gradients``, ``outputs`` or ``representations``.
        members: number of members.
        per_job: members per job (``compute.members_per_job``).
    """
    jobs = [range(rows.start, rows.stop) for rows in chunks(members, per_job)]
    if kind == TOGETHER or not jobs or len(jobs[0]) == 1:
        return jobs
    return [jobs[0][:1], jobs[0][1:], *jobs[1:]]


def feature_shard(kind: str, member: int, per_job: int) -> int:
    """Return the number of the file that holds the features of a member; see :func:`feature_shards`."""
    if kind == TOGETHER or per_job == 1 or member == 0:
        return member // per_job
    return member // per_job + 1

"""Reports on results and runs, one module per command of ``proponent``.

- ``status``, ``provenance`` and ``verify`` report how far a run is, how a result was made, and whether results are intact.
- ``plan`` (``cost_table``, ``forecast``) predicts the cost of a run. With ``--profile`` it also predicts partitions and
  submissions, because a run on a cluster takes days and a wrong limit shows only after hours in the queue.
- ``pack`` and ``unpack`` hand the results of a setting to people who have no access to the DVC remote, such as reviewers.
- ``prune`` removes results that the configuration does not make.

The other modules are shared by these: the jobs of the last run (``run_events``), earlier costs (``measured_costs``), the
fields of a job that reports read (``tasks``), traversal (``closure``), and the profile and rules (``submissions``,
``declared_resources``).
"""

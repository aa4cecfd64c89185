r"""Snakemake logger plugin: structured events of a run in a file, and short text for people.

Snakemake finds the plugin by its name; both profiles enable it with ``logger: [proponent]``. The complete text of
Snakemake is in ``.snakemake/log/``, as without the plugin, and ``--verbose``, ``--printshellcmds`` and ``--quiet`` show
Snakemake's own text. Dry runs are not affected.

**Event file.** A run that starts jobs writes ``.snakemake/proponent/<UTC start>-<pid>.jsonl``, one JSON object per line,
each with ``event`` and ``time`` (seconds since 1970). File names sort by time. The events are:

``run``
    First line: ``pid``, ``cores`` (null on a cluster), ``total_jobs`` (including target rules such as ``all``), and
    ``rules`` (number of jobs by rule).
``started``
    A job was handed to the executor: ``jobid``, ``rule``, ``wildcards``, ``output`` and ``log`` (lists of paths relative to
    the checkout). A job that is started again has a second line of this kind. Jobs of a group have one line each.
``submitted``
    A job is in Slurm's queue: the same fields and ``external_jobid``, Slurm's number as a string. Jobs of a group share it.
``finished``
    The same fields as ``started``, and ``done`` and ``total``, the numbers of jobs at that time. Not written with
    ``--quiet progress``, because Snakemake does not report the end of jobs then.
``error``
    The same fields as ``started``, where ``log`` also lists the files of the executor, and ``message`` (null or the reason
    that the executor gives). All jobs of a failed group have one.
``ended``
    Last line, without further fields. It is missing while Snakemake is running, and if it was killed.

Later versions may add fields but not remove any: readers ignore what they do not know.
"""

from snakemake_logger_plugin_proponent.log_handler import LogHandler

__all__ = ["LogHandler"]

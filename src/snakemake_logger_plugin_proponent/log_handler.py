"""The handler that Snakemake calls for each of its log records."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable
from functools import cached_property
from logging import INFO, WARNING, Filter, LogRecord
from pathlib import Path
from typing import TYPE_CHECKING

from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent

from snakemake_logger_plugin_proponent.event_file import EventFile
from snakemake_logger_plugin_proponent.job_error import error_text
from snakemake_logger_plugin_proponent.run_state import RunState, StartedJob, earlier_durations
from snakemake_logger_plugin_proponent.user_environment import prepare_user_environment

if TYPE_CHECKING:
    from snakemake_logger_plugin_proponent.display import Display

_SUBMITTED = re.compile(r"Job (\S+) has been submitted with SLURM jobid (\w+)")
"""The Slurm executor has no event for this, only a message."""
_ROUTINE = (
    "Assuming unrestricted shared filesystem usage",
    "host: ",
    "Building DAG of jobs",
    "Using shell: ",
    "Group jobs: inactive",
    "Conda environments: ignored",
    "Singularity containers: ignored",
    "Select jobs to execute",
    "Job rate limit reached",
    "Elapsed time: ",
)
_REPEATED = "RuleException:\nCalledProcessError in file "
"""Beginning of a message about a job that failed, whose own event says more."""
"""Beginnings of messages that every run prints and that say nothing about this one."""


class LogHandler(LogHandlerBase):
    """Writes the event file, and text for people unless they asked for Snakemake's own."""

    def __post_init__(self) -> None:
        """Prepare an empty run; nothing is written before its first event."""
        prepare_user_environment()
        self._state = RunState()
        self._file = EventFile()
        self._groups: dict[str, list[int]] = {}
        self._shown: set[str] = set()
        self._on_event: dict[LogEvent | None, Callable[[LogRecord], None]] = {
            None: self._plain,
            LogEvent.RESOURCES_INFO: self._resources,
            LogEvent.RUN_INFO: self._run,
            LogEvent.GROUP_INFO: self._group,
            LogEvent.JOB_INFO: self._started,
            LogEvent.JOB_FINISHED: self._finished,
            LogEvent.JOB_ERROR: self._failed,
            LogEvent.GROUP_ERROR: self._group_failed,
            LogEvent.ERROR: self._text,
        }

    @property
    def writes_to_stream(self) -> bool:
        """Whether this handler replaces Snakemake's own text."""
        common = self.common_settings
        own = common.dryrun or common.verbose or common.debug_dag or common.printshellcmds or common.quiet
        return not own

    @property
    def writes_to_file(self) -> bool:
        """False: Snakemake would name the event file as a log for people."""
        return False

    @property
    def has_filter(self) -> bool:
        """True: events are recorded even if ``--quiet`` hides their text."""
        return True

    @property
    def has_formatter(self) -> bool:
        """False: messages without a meaning of their own are formatted as Snakemake does."""
        return False

    @property
    def needs_rulegraph(self) -> bool:
        """False: drawing it costs time."""
        return False

    def emit(self, record: LogRecord) -> None:
        """Record and show one record of Snakemake."""
        if self.common_settings.dryrun:
            return
        try:
            # Events without an entry (shell commands, progress, …) follow from others or are in Snakemake's log only.
            handle = self._on_event.get(getattr(record, "event", None))
            if handle is not None:
                handle(record)
        except Exception:
            self.handleError(record)

    def close(self) -> None:
        """Finish the event file and leave the terminal as it was."""
        self._file.close(time.time())
        if "_display" in self.__dict__:
            self._display.close()
        super().close()

    # Text.

    @cached_property
    def _display(self) -> Display:
        from snakemake_logger_plugin_proponent.display import make_display  # rich is needed from here on

        return make_display(self.common_settings.nocolor)

    @cached_property
    def _text_filter(self) -> Filter:
        from snakemake.logging import DefaultFilter

        common = self.common_settings
        return DefaultFilter(
            common.quiet, common.debug_dag, common.verbose, common.dryrun, common.printshellcmds
        )

    def _text(self, record: LogRecord) -> None:
        """Show a message as Snakemake formats it."""
        text = self.format(record)
        if text.startswith(_REPEATED):
            return
        if self.writes_to_stream and text and self._text_filter.filter(record):
            style = "yellow" if record.levelno == WARNING else "red" if record.levelno > WARNING else None
            self._display.message(text, style)

    def _show_progress(self) -> None:
        if self.writes_to_stream:
            self._display.update(self._state)

    def _show_table(self, paths: Iterable[str]) -> None:
        """Show the leaderboard of each setting whose summary is among the paths, once."""
        from snakemake_logger_plugin_proponent.setting_table import render, settings_in

        for setting in settings_in(paths):
            if not self.writes_to_stream or setting in self._shown:
                continue
            self._shown.add(setting)
            try:
                table = render(Path.cwd(), setting)
            except Exception as error:  # a table that cannot be shown must not hide the rest of the run
                self._display.message(f"the leaderboard of {setting} cannot be shown: {error}", "yellow")
            else:
                if table is not None:
                    self._display.table(table)

    # Events.

    def _plain(self, record: LogRecord) -> None:
        message = record.getMessage()
        if message == "None":  # Snakemake logs events that it does not name here without a message
            return
        if found := _SUBMITTED.match(message):
            self._submitted(found[1], found[2], record.created)
        elif record.levelno != INFO or not message.startswith(_ROUTINE):
            self._text(record)
            self._show_table(getattr(record, "made", ()))

    def _resources(self, record: LogRecord) -> None:
        self._state.cores = getattr(record, "cores", self._state.cores)

    def _run(self, record: LogRecord) -> None:
        stats: dict[str, int] = record.stats  # type: ignore[attr-defined]
        rules = {str(rule): int(count) for rule, count in stats.items() if rule != "total"}
        self._state.earlier = earlier_durations()
        self._state.plan(rules)
        cores, total = self._state.cores, self._state.total
        self._file.write(
            "run", record.created, pid=record.process, cores=cores, total_jobs=total, rules=rules
        )
        if self.writes_to_stream:
            self._display.message(f"{total} jobs to run" + (f" on {cores} cores" if cores else ""))

    def _group(self, record: LogRecord) -> None:
        self._groups[str(record.group_id)] = [job.jobid for job in record.jobs]  # type: ignore[attr-defined]

    def _started(self, record: LogRecord) -> None:
        given = record.__dict__
        paths = {name: [str(path) for path in given[name] or ()] for name in ("input", "output", "log")}
        wildcards = {name: str(value) for name, value in dict(given["wildcards"]).items()}
        job = StartedJob(given["jobid"], given["rule_name"], wildcards, **paths, started=record.created)
        self._state.start(job)
        self._file.write("started", record.created, **job.fields())
        self._show_progress()

    def _submitted(self, number: str, external: str, created: float) -> None:
        for jobid in self._groups.get(number) or [int(number)]:
            if job := self._state.known.get(jobid):
                self._file.write("submitted", created, **job.fields(), external_jobid=external)

    def _finished(self, record: LogRecord) -> None:
        job = self._state.finish(record.job_id, record.created)  # type: ignore[attr-defined]
        if job is None:
            return
        done, total = self._state.done, self._state.total
        self._file.write("finished", record.created, **job.fields(), done=done, total=total)
        self._show_table(job.input if job.rule == "quickstart" else job.output)
        self._show_progress()
        if done == total and self.writes_to_stream:
            self._display.message(f"{done} of {total} steps (100%) done")

    def _failed(self, record: LogRecord) -> None:
        given = record.__dict__
        job = self._state.fail(given["jobid"])
        rule, output, logs, message = (given[name] for name in ("rule_name", "output", "log", "rule_msg"))
        if job is not None:
            fields = {**job.fields(), "log": [str(path) for path in logs]}
            self._file.write("error", record.created, **fields, message=message)
        if self.writes_to_stream:
            text = error_text(rule, output, logs, message, self.common_settings.show_failed_logs)
            self._display.message(text, "red")
            self._show_progress()

    def _group_failed(self, record: LogRecord) -> None:
        """Show the log of the executor; an error of each job of the group follows."""
        if self.writes_to_stream:
            group, logs = (record.__dict__[name] for name in ("groupid", "aux_logs"))
            text = error_text(f"group {group}", (), logs, None, self.common_settings.show_failed_logs)
            self._display.message(text, "red")

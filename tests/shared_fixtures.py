"""Distribution of tests to the processes of pytest-xdist by the fixtures that they share, which are then made once.

The mark ``xdist_group`` of pytest-xdist 3.8 has no effect with pytest 9.
"""

from __future__ import annotations

from xdist.scheduler import LoadScheduling
from xdist.workermanage import WorkerController

FOLDERS = ("tests/workflow/", "tests/docs/", "tests/versioning/", "tests/slurm/")
"""Folders with fixtures of the whole session; elsewhere the tests of a file share those of their module."""


class Together(LoadScheduling):
    """Hands out tests in their order, but those of a group to the process that has the first of them.

    A process for which nothing else is left helps with the groups of others.
    """

    def _send_tests(self, node: WorkerController, num: int) -> None:
        owners = self.__dict__.setdefault("owners", {})
        chosen: list[int] = []
        for index in self.pending:
            if len(chosen) == num:
                break
            owner = owners.setdefault(self._group(index), node)
            if owner is node or owner not in self.nodes:
                chosen.append(index)
        chosen = chosen or self.pending[:num]
        taken = set(chosen)
        self.pending[:] = [*chosen, *(index for index in self.pending if index not in taken)]
        super()._send_tests(node, len(chosen))

    def _group(self, index: int) -> str:
        assert self.collection is not None
        file = self.collection[index].partition("::")[0]
        return next((folder for folder in FOLDERS if file.startswith(folder)), file)

"""Evidence for processes that the kernel killed for lack of memory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")
_REMEDY = "lower compute.memory_mib in params.yaml, or run fewer jobs at a time"


@dataclass(frozen=True)
class MemoryKills:
    """Numbers of processes that the kernel has killed for lack of memory since it counts."""

    cgroup: int = 0
    """In the control group of this process: a container, a batch job or a systemd unit."""
    machine: int = 0
    """On the whole machine."""

    def evidence(self, earlier: MemoryKills) -> str:
        """Return what the difference from ``earlier`` says about a process that was killed meanwhile."""
        if self.cgroup > earlier.cgroup:
            return f"the kernel killed it for lack of memory; {_REMEDY}"
        if self.machine > earlier.machine:
            return f"probably for lack of memory, because the kernel killed a process for that; {_REMEDY}"
        return "by hand, by a batch system, or for lack of memory"


def count_memory_kills() -> MemoryKills:
    """Return the present numbers; zero where the kernel does not tell."""
    return MemoryKills(cgroup=_in_cgroup(), machine=_number(Path("/proc/vmstat"), "oom_kill"))


def _in_cgroup() -> int:
    """Return the number for this process's control group, of version 2 or of the memory controller of version 1."""
    try:
        lines = Path("/proc/self/cgroup").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return 0
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            found = _number(_CGROUPS / path.lstrip("/") / "memory.events", "oom_kill")
        elif "memory" in controllers.split(","):
            found = _number(_CGROUPS / "memory" / path.lstrip("/") / "memory.oom_control", "oom_kill")
        else:
            continue
        if found:
            return found
    return 0


def _number(file: Path, name: str) -> int:
    try:
        lines = file.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return 0
    return next((int(value) for key, _, value in (line.partition(" ") for line in lines) if key == name), 0)

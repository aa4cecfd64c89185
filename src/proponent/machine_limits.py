"""Memory and CPU time that this process may use: those of the machine, or of its control groups if these allow less.

Containers, batch systems and ``systemd-run -p MemoryMax=…`` limit processes by control groups (cgroups) of the Linux kernel.
A limit of any ancestor of a group holds for the group, and both versions of the interface are read.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_ROOT = Path("/")
_NO_LIMIT = 1 << 60
"""Version 1 writes a number near 2^63 for no limit."""


@dataclass(frozen=True)
class MachineLimits:
    """Limits of this process and of all that it starts.

    Attributes:
        memory_mib: memory in MiB.
        cores: number of CPU cores whose time may be used; a fraction under a quota.
    """

    memory_mib: float
    cores: float


def machine_limits(root: Path = _ROOT) -> MachineLimits:
    """Return the limits of this process.

    Args:
        root: folder in which ``proc`` and the mount points of control groups are looked for.
    """
    memory = [_physical_mib(root), *(limit / 2**20 for limit in _memory_limits(root))]
    quotas = list(_cpu_quotas(root))
    return MachineLimits(min(memory), min([float(usable_cores()), *quotas]))


def usable_cores() -> int:
    """Return the number of CPU cores on which this process may run, without regard to a quota."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _physical_mib(root: Path) -> float:
    for line in _lines(root / "proc/meminfo"):
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) / 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**20


def _memory_limits(root: Path) -> Iterator[int]:
    """Yield the memory limits in bytes."""
    for folder in _groups(root, "memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):
            for line in _lines(folder / name):
                if line.isdigit() and int(line) < _NO_LIMIT:
                    yield int(line)


def _cpu_quotas(root: Path) -> Iterator[float]:
    """Yield the quotas of CPU time, in cores."""
    for folder in _groups(root, "cpu"):
        pairs = [line.split() for line in _lines(folder / "cpu.max")]
        quota, period = (_lines(folder / f"cpu.cfs_{name}_us") for name in ("quota", "period"))
        if quota and period:
            pairs.append([quota[0], period[0]])
        for pair in pairs:
            if len(pair) == 2 and all(number.isdigit() for number in pair) and int(pair[1]):
                yield int(pair[0]) / int(pair[1])


def _groups(root: Path, controller: str) -> Iterator[Path]:
    """Yield the folders of this process's groups that have a controller, and of all their ancestors."""
    for line in _lines(root / "proc/self/cgroup"):
        _, controllers, group = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        for inside, mount in _mounts(root, controller if controllers else ""):
            # A container sees its own group as the root of the mount, but its parents' names in /proc.
            own = group.removeprefix(inside) if inside != "/" else group
            folder = mount / own.lstrip("/")
            folder = folder if folder.is_dir() else mount
            yield folder
            while folder != mount:
                folder = folder.parent
                yield folder


def _mounts(root: Path, controller: str) -> Iterator[tuple[str, Path]]:
    """Yield the mounted part of a hierarchy and its mount point; an empty ``controller`` stands for version 2."""
    for line in _lines(root / "proc/self/mountinfo"):
        first, _, last = line.partition(" - ")
        kind, _, options = last.split()[:3]
        if kind == ("cgroup" if controller else "cgroup2") and (
            not controller or controller in options.split(",")
        ):
            inside, mount = first.split()[3:5]
            yield inside, root / mount.lstrip("/")


def _lines(path: Path) -> list[str]:
    """Return the lines of a file of the kernel; none if it cannot be read."""
    try:
        return path.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return []

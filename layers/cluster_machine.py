"""Settings of the embedded server, computed from the memory, cores and disk of the machine it runs on."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Machine", "measure_machine", "server_settings"]

_MIB = 1024 * 1024
_GIB = 1024 * _MIB


@dataclass(frozen=True)
class Machine:
    """What the machine (or the container on it) has; sizes in bytes."""

    memory_bytes: int
    cores: int
    disk_free_bytes: int
    shm_bytes: int


def _cgroup_memory() -> int | None:
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            return int(Path(path).read_text(encoding="ascii"))
        except (OSError, ValueError):  # no such controller, or "max"
            continue
    return None


def measure_machine(place: Path) -> Machine:
    """Memory and cores that this process may use, and the free disk under ``place`` (an existing directory)."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit = _cgroup_memory()
    shm = shutil.disk_usage("/dev/shm").total if Path("/dev/shm").is_dir() else 0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Machine(min(memory, limit or memory), cores, shutil.disk_usage(place).free, shm)


def _mib(value: float, low: int, high: int) -> str:
    return f"{int(min(max(value / _MIB, low), high))}MB"


def server_settings(machine: Machine, *, socket_dir: Path, port: int, durable: bool = True) -> dict[str, str]:
    """Lines of the server's configuration file.

    The server shares the machine with the analysis, so it takes an eighth of the memory, not the quarter of a machine of its own.

    Parameters
    ----------
    machine : Machine
        Sizes of the machine.
    socket_dir : Path
        Where the Unix socket goes; there is no other way in.
    port : int
        Only names the socket file.
    durable : bool
        False gives up safety against power loss for speed; for tests.
    """
    memory = machine.memory_bytes
    helpers = max(1, min(4, machine.cores // 2))
    roomy = machine.disk_free_bytes > 20 * _GIB and memory > 4 * _GIB
    settings = {
        "listen_addresses": "",
        "port": str(port),
        "unix_socket_directories": str(socket_dir),
        "unix_socket_permissions": "0700",
        "max_connections": "200",
        "shared_buffers": _mib(memory / 8, 64, 4096),
        "effective_cache_size": _mib(memory / 2, 256, 65536),
        "work_mem": _mib(memory / 256, 4, 64),
        "maintenance_work_mem": _mib(memory / 24, 48, 1024),
        "max_wal_size": "4GB" if roomy else "1GB",
        # No standby and no archive: a load into a new table need not be written twice.
        "wal_level": "minimal",
        "max_wal_senders": "0",
        "checkpoint_timeout": "15min",
        "synchronous_commit": "on",
        "random_page_cost": "1.1",
        "effective_io_concurrency": "100",
        "jit": "off",
        "max_worker_processes": str(max(8, machine.cores)),
        "max_parallel_workers": str(machine.cores),
        "max_parallel_workers_per_gather": str(helpers),
        "max_parallel_maintenance_workers": str(helpers),
        "timezone": "UTC",
        "log_timezone": "UTC",
        "lc_messages": "C",
        "logging_collector": "on",
        "log_directory": "../log",
        "log_filename": "postgresql-%a.log",
        "log_truncate_on_rotation": "on",
        "log_rotation_age": "1d",
        "log_rotation_size": "0",
        "log_line_prefix": "%m [%p] %q%u@%d ",
        "log_min_duration_statement": "5s",
        "log_checkpoints": "off",
    }
    if machine.shm_bytes < 512 * _MIB:
        # Containers often have 64 MB of /dev/shm, too little for parallel queries; files in the data folder serve instead.
        settings["dynamic_shared_memory_type"] = "mmap"
    if not durable:
        settings |= {
            "fsync": "off",
            "synchronous_commit": "off",
            "full_page_writes": "off",
            "autovacuum_naptime": "10min",
        }
    return settings

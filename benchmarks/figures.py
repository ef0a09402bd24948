"""How the benchmarks say what they measured, and on what machine."""

import os
import platform
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import psutil


def spread(values: Sequence[float], digits: int = 3) -> str:
    """`median (least - most)`."""
    parts = (f"{value:.{digits}f}" for value in (median(values), min(values), max(values)))
    middle, least, most = parts
    return f"{middle} ({least} - {most})"


def this_machine() -> str:
    """Processor, cores, memory, and what else runs at the moment."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    memory = psutil.virtual_memory().total / 2**30
    return f"{_processor()}, {os.cpu_count()} cores, {memory:.0f} GiB; load average {load:.1f}"


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()

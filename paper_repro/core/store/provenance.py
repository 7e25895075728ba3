"""Where a result comes from: versions, hardware, source revision, peak memory."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = (
    "jax",
    "jaxlib",
    "numpy",
    "scipy",
    "optax",
    "numba",
    "neural-tangents",
    "datasets",
    "huggingface-hub",
)
NOT_EVERYWHERE = (
    *("torch", "jax-cuda12-plugin", "jax-cuda13-plugin"),
    *("cuda-bindings", "nvidia-cuda-nvrtc"),
)
DISTRIBUTION = "kip-repro"
SOURCE = ("paper_repro", "pyproject.toml", "requirements.lock", "requirements-run.lock")


def provenance() -> dict[str, Any]:
    """The `versions`, `hardware` and `git` fields of a result row.

    Call it when a run starts: the source revision is looked up once per process and stands for
    the code that was loaded.
    """
    return {"versions": versions(), "hardware": hardware(), "git": git_state()}


def versions() -> dict[str, str | None]:
    """Version of Python, of this project and of what it computes with; None if not installed.

    Of what only some runs use (`NOT_EVERYWHERE`), what is installed.
    """
    found: dict[str, str | None] = {"python": platform.python_version()}
    for name in (*PACKAGES, DISTRIBUTION):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
    found["paper_repro"] = found.pop(DISTRIBUTION)
    for name in NOT_EVERYWHERE:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def hardware() -> dict[str, Any]:
    """CPU model and vector set, cores this process may use, memory in GiB, accelerator or None.

    The accelerator is known only when JAX or PyTorch is loaded, so call this when a run ends; it
    never loads them. Beside an NVIDIA one stands the version of its driver. The name of the machine
    is not recorded.
    """
    found = {
        "cpu": _cpu_model(),
        "simd": _simd(),
        "cores": available_cores(),
        "ram_gb": _ram_gb(),
        "gpu": _accelerator(),
        "system": platform.system(),
        "machine": platform.machine(),
    }
    driver = _driver() if found["gpu"] else None
    return found | ({"gpu_driver": driver} if driver else {})


def available_cores() -> int:
    """CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@functools.cache
def source_digest() -> str:
    """Hex SHA-256 over the Python files of this package, by which two copies of it are told apart.

    It stands for the code that was loaded: it is computed once per process.
    """
    package = Path(__file__).resolve().parents[2]
    found = hashlib.sha256()
    for path in sorted(package.rglob("*.py"), key=lambda path: path.as_posix()):
        found.update(path.relative_to(package).as_posix().encode() + b"\0" + path.read_bytes())
    return found.hexdigest()


@functools.cache
def git_state() -> dict[str, Any] | None:
    """`{"revision": ..., "dirty": ...}` of the checkout this code runs from, None outside of one.

    Dirty means that tracked files of the package or its pins differ from the revision. Untracked
    files, results and documents do not count, so that a run is not made dirty by its own rows. An
    installed copy that merely lies inside some other repository has no revision.
    """
    package = Path(__file__).resolve().parents[2]
    root = package.parent
    # What a calling git hook exports would point these commands at another repository.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", str(root), *arguments],
                capture_output=True,
                text=True,
                timeout=30,
                env={**environment, "GIT_OPTIONAL_LOCKS": "0"},
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    if not git("ls-files", "--error-unmatch", str(package / "__init__.py")):
        return None
    revision = git("rev-parse", "HEAD")
    if revision is None:
        return None
    changed = git("status", "--porcelain", "--untracked-files=no", "--", *SOURCE)
    return {"revision": revision, "dirty": bool(changed) if changed is not None else None}


def peak_mb() -> float | None:
    """Peak resident memory of this process so far in MiB; None where it is not known."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    unit = 1 if sys.platform == "darwin" else 1024
    return round(peak * unit / 2**20, 1)


def _cpu_model() -> str:
    found = _cpuinfo("model name", "Hardware", "cpu model")
    return " ".join(found.split()) or platform.processor() or platform.machine() or "unknown"


def _simd() -> str | None:
    """The widest vector instructions of an x86 processor, which decide the numba backend's speed.

    None where the system does not list them.
    """
    flags = _cpuinfo("flags").split()
    for flag, name in (("avx512f", "AVX-512"), ("avx2", "AVX2"), ("avx", "AVX")):
        if flag in flags:
            return name
    return None


def _cpuinfo(*names: str) -> str:
    """What Linux says of the first processor under one of `names`; empty elsewhere."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() in names and value.strip():
                return value.strip()
    return ""


def _ram_gb() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (AttributeError, OSError, ValueError):
        return None


def _driver() -> str | None:
    """Version of the NVIDIA driver, where Linux says it."""
    with contextlib.suppress(OSError):
        text = Path("/proc/driver/nvidia/version").read_text(errors="replace")
        for word in text.split():
            if word[:1].isdigit() and word.count(".") >= 1:
                return word
    return None


def _accelerator() -> str | None:
    kinds = []
    if (jax := sys.modules.get("jax")) is not None:
        # Of a device that was asked for and is not here, an AssertionError too.
        with contextlib.suppress(Exception):
            kinds = [d.device_kind for d in jax.local_devices() if d.platform != "cpu"]
    if not kinds and (torch := sys.modules.get("torch")) is not None:
        with contextlib.suppress(Exception):
            cards = range(torch.cuda.device_count())
            kinds = [torch.cuda.get_device_name(card) for card in cards]
    return ", ".join(f"{kinds.count(kind)} x {kind}" for kind in dict.fromkeys(kinds)) or None

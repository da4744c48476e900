"""The instruction sets of this CPU, on which the last bits of results depend.

PyTorch, oneDNN and MKL choose kernels by instruction set, and the kernels round differently. An
environment variable of each library can exclude instruction sets.
"""

import os
from pathlib import Path

import torch

#: Instruction set that PyTorch does not name -> flags in /proc/cpuinfo; any one suffices.
_SETS = {
    "VNNI": {"avx512_vnni", "avx_vnni"},
    "BF16": {"avx512_bf16"},
    "FP16": {"avx512_fp16"},
    "AMX": {"amx_tile"},
}
#: Environment variables that change the choice; that of PyTorch shows in the name it reports.
_LIMITS = (
    "ONEDNN_MAX_CPU_ISA",
    "DNNL_MAX_CPU_ISA",
    "ONEDNN_DEFAULT_FPMATH_MODE",
    "DNNL_DEFAULT_FPMATH_MODE",
    "MKL_ENABLE_INSTRUCTIONS",
    "MKL_CBWR",
)
_CPUINFO = Path("/proc/cpuinfo")


def instructions() -> str:
    """Return the maker of the CPU, its instruction sets and their limits, separated by spaces.

    CPUs for which this text is equal compute the same bytes.
    """
    maker, flags = _maker_and_flags()
    sets = [name for name, any_of in _SETS.items() if any_of & flags]
    limits = [f"{name}={os.environ[name]}" for name in _LIMITS if os.environ.get(name)]
    capability = torch.backends.cpu.get_cpu_capability()
    return " ".join(filter(None, [maker, capability, *sets, *limits]))


def _maker_and_flags() -> tuple[str, set[str]]:
    """Return maker and flags of the first core, from Linux; empty for CPUs other than x86."""
    try:
        first, *_ = _CPUINFO.read_text(encoding="utf-8", errors="replace").split("\n\n")
    except OSError:
        return "", set()
    parts = (line.partition(":") for line in first.splitlines())
    found = {name.strip(): value.strip() for name, _, value in parts}
    return found.get("vendor_id", ""), set(found.get("flags", "").split())

"""The instruction sets of this CPU on which results depend by their last bits.

PyTorch, oneDNN and MKL choose their kernels by them, and kernels round differently. Each can be
told by an environment variable to use fewer.
"""

import os
from pathlib import Path

import torch

#: What a CPU has beyond what PyTorch names -> its flags in /proc/cpuinfo, one of which suffices.
_SETS = {
    "VNNI": {"avx512_vnni", "avx_vnni"},
    "BF16": {"avx512_bf16"},
    "FP16": {"avx512_fp16"},
    "AMX": {"amx_tile"},
}
#: Environment variables that let libraries choose otherwise; PyTorch's own shows in what it names.
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
    """Return the maker of the CPU, its instruction sets, and what limits them, parted by blanks.

    Computations on CPUs of which this says the same give the same bytes.
    """
    maker, flags = _maker_and_flags()
    sets = [name for name, any_of in _SETS.items() if any_of & flags]
    limits = [f"{name}={os.environ[name]}" for name in _LIMITS if os.environ.get(name)]
    capability = torch.backends.cpu.get_cpu_capability()
    return " ".join(filter(None, [maker, capability, *sets, *limits]))


def _maker_and_flags() -> tuple[str, set[str]]:
    """Return what Linux says of the first core; of CPUs that are not x86 it says neither."""
    try:
        first, *_ = _CPUINFO.read_text(encoding="utf-8", errors="replace").split("\n\n")
    except OSError:
        return "", set()
    parts = (line.partition(":") for line in first.splitlines())
    found = {name.strip(): value.strip() for name, _, value in parts}
    return found.get("vendor_id", ""), set(found.get("flags", "").split())

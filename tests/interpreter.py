"""Triton's interpreter, mended where it does with bf16 and e4m3 what no GPU does.

It truncates to bf16, loses the carry when rounding to e4m3 (1.99 becomes 1), and multiplies the
bit patterns of bf16 as integers. PyTorch converts here instead, to the nearest, ties to even.
It also looks through Triton's whole language at each call of a function: once is enough.
"""
# ruff: noqa: ANN401 (Triton's types are its own)

from typing import Any

import numpy as np
import torch
import triton.language as tl
from numpy.typing import NDArray
from triton.runtime.interpreter import InterpretedFunction, InterpreterBuilder, TensorHandle

#: Types that NumPy lacks -> PyTorch's, and the integers that the interpreter keeps them in.
_TYPES = {
    tl.bfloat16: (torch.bfloat16, torch.uint16),
    tl.float8e4nv: (torch.float8_e4m3fn, torch.uint8),
}


def mend() -> None:
    """Replace the interpreter's conversions, its product and its calls."""
    plain_cast, plain_dot = InterpreterBuilder.cast_impl, InterpreterBuilder.create_dot

    def cast(builder: Any, handle: Any, dtype: Any, *_: Any) -> Any:
        source, target = handle.dtype.scalar, dtype.scalar
        if source not in _TYPES and target not in _TYPES:
            return plain_cast(builder, handle, dtype)
        values = _values(handle)
        if target not in _TYPES:
            exact = TensorHandle(values, tl.float32)
            return exact if target == tl.float32 else plain_cast(builder, exact, dtype)
        floats, bits = _TYPES[target]
        return TensorHandle(torch.from_numpy(values).to(floats).view(bits).numpy(), target)

    def dot(builder: Any, a: Any, b: Any, total: Any, *options: Any) -> Any:
        if a.dtype.scalar not in _TYPES:
            return plain_dot(builder, a, b, total, *options)
        return TensorHandle(_values(a) @ _values(b) + total.data, total.dtype.scalar)

    plain_call, ready = InterpretedFunction.__call__, set[int]()

    def call(function: Any, *args: Any, **options: Any) -> Any:
        module = id(function.fn.__globals__)
        if module in ready:
            return function.rewrite()(*args, **options)
        ready.add(module)
        return plain_call(function, *args, **options)

    InterpretedFunction.__call__ = call
    InterpreterBuilder.cast_impl = cast
    InterpreterBuilder.create_fp_to_fp = cast
    InterpreterBuilder.create_dot = dot


def _values(handle: Any) -> NDArray[np.float32]:
    """Return a handle's numbers in fp32."""
    kind = handle.dtype.scalar
    if kind not in _TYPES:
        return np.array(handle.data, dtype=np.float32)
    data = torch.from_numpy(np.array(handle.data))
    found: NDArray[np.float32] = data.view(_TYPES[kind][0]).float().numpy()
    return found

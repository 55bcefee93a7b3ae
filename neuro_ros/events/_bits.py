# SPDX-License-Identifier: Apache-2.0
"""Machine instructions that numba has no name for."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

__all__ = ["count_ones", "leading_zeros", "trailing_zeros"]


@intrinsic
def trailing_zeros(typing_context: Any, value: Any) -> Any:  # noqa: ARG001 - numba's interface
    """Count the zeros below the lowest one of an int64 that is not zero."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ARG001
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.int64), generate


@intrinsic
def count_ones(typing_context: Any, value: Any) -> Any:  # noqa: ARG001 - numba's interface
    """Count the ones of a uint64."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ARG001
        return builder.ctpop(arguments[0])

    return types.uint64(types.uint64), generate


@intrinsic
def leading_zeros(typing_context: Any, value: Any) -> Any:  # noqa: ARG001 - numba's interface
    """Count the zeros above the highest one of an int64 that is not zero."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ARG001
        return builder.ctlz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.int64), generate

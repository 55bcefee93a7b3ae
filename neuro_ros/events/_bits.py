# SPDX-License-Identifier: Apache-2.0
"""Machine instructions that numba has no name for; with ``NUMBA_DISABLE_JIT`` plain Python stands in for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import config
from numba.core import types
from numba.extending import intrinsic

__all__ = ["count_ones", "leading_zeros", "plain_when_interpreted", "trailing_zeros"]


def plain_when_interpreted(plain: Callable[..., int]) -> Callable[[Any], Any]:
    """Return a decorator that puts `plain` in the place of an intrinsic, which only compiled code can call."""

    def choose(compiled: Any) -> Any:
        return plain if config.DISABLE_JIT else compiled  # type: ignore[attr-defined]

    return choose


@plain_when_interpreted(lambda value: (int(value) & -int(value)).bit_length() - 1)
@intrinsic
def trailing_zeros(typing_context: Any, value: Any) -> Any:  # noqa: ARG001 - numba's interface
    """Count the zeros below the lowest one of an int64 that is not zero."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ARG001
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.int64), generate


@plain_when_interpreted(lambda value: int(value).bit_count())
@intrinsic
def count_ones(typing_context: Any, value: Any) -> Any:  # noqa: ARG001 - numba's interface
    """Count the ones of a uint64."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ARG001
        return builder.ctpop(arguments[0])

    return types.uint64(types.uint64), generate


@plain_when_interpreted(lambda value: 64 - (int(value) & (1 << 64) - 1).bit_length())
@intrinsic
def leading_zeros(typing_context: Any, value: Any) -> Any:  # noqa: ARG001 - numba's interface
    """Count the zeros above the highest one of an int64 that is not zero."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ARG001
        return builder.ctlz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.int64), generate

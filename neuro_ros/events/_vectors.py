# SPDX-License-Identifier: Apache-2.0
"""Writes vector instructions in LLVM's portable form, for the intrinsics of this library.

Numba's cache of compiled loops watches the file of a loop only: after a change here or to an intrinsic, touch the
files of the loops that use it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llvmlite import ir
from numba.core import cgutils

__all__ = ["I32", "I64", "Vectors", "array_data"]

I32, I64 = ir.IntType(32), ir.IntType(64)
_CACHE_LINE = 64


class Vectors:
    """Writes operations on vectors of `lanes` integers."""

    def __init__(self, builder: Any, lanes: int) -> None:
        self._builder = builder
        self._lanes = lanes

    def type(self, element: ir.IntType) -> ir.VectorType:
        """Return the type of vectors of these elements."""
        return ir.VectorType(element, self._lanes)

    def same(self, value: int, element: ir.IntType) -> ir.Constant:
        """Return a constant in all lanes."""
        return ir.Constant(self.type(element), [value] * self._lanes)

    def spread(self, scalar: Any) -> Any:
        """Copy a scalar into all lanes."""
        undefined = ir.Constant(self.type(scalar.type), ir.Undefined)
        first = self._builder.insert_element(undefined, scalar, ir.Constant(I32, 0))
        return self._builder.shuffle_vector(first, first, self.same(0, I32))

    def load(self, pointer: Any, index: Any, element: ir.IntType) -> Any:
        """Read from an array that is aligned as its elements are."""
        builder = self._builder
        place = builder.bitcast(builder.gep(pointer, [index]), self.type(element).as_pointer())
        vector = builder.load(place)
        vector.align = element.width // 8
        return vector

    def fetch_ahead(self, pointer: Any, index: Any, lines: int) -> None:
        """Ask for cache lines from an element on, which may lie beyond the array.

        The processor does so by itself, but not across the bounds of a page: 5 to 15 % of the time of a window.
        """
        builder = self._builder
        byte = ir.IntType(8).as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [byte, I32, I32, I32])
        fetch = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        start = builder.bitcast(builder.gep(pointer, [index]), byte)
        for line in range(lines):
            place = builder.gep(start, [ir.Constant(I64, _CACHE_LINE * line)])
            # To read, to keep, data.
            builder.call(fetch, [place, *(ir.Constant(I32, value) for value in (0, 3, 1))])

    def store(self, pointer: Any, vector: Any) -> None:
        """Write to the start of an array."""
        place = self._builder.bitcast(pointer, vector.type.as_pointer())
        self._builder.store(vector, place, align=vector.type.element.width // 8)

    def count(self, chosen: Any) -> Any:
        """Count the lanes that are chosen."""
        bits = self._builder.bitcast(chosen, ir.IntType(self._lanes))
        return self._builder.ctpop(self._builder.zext(bits, I64))

    def store_events(self, pointer: Any, count: Any, times: Any, tails: Any, order: Sequence[int]) -> None:
        """Write pairs of 64-bit words, the `count`-th and those behind it; lane by lane, `order` says which.

        Four lanes; pairs are made within halves of 128 bits and stored so, because crossing them is slow.
        """
        builder = self._builder
        for odd in (0, 1):
            pairs = self.pick(times, tails, (odd, 4 + odd, 2 + odd, 6 + odd))
            for half in (0, 1):
                pair = self.pick(pairs, pairs, (2 * half, 2 * half + 1))
                place = builder.add(count, ir.Constant(I64, order[2 * half + odd]))
                address = builder.gep(pointer, [builder.shl(place, ir.Constant(I64, 1))])
                builder.store(pair, builder.bitcast(address, pair.type.as_pointer()), align=8)

    def pick(self, first: Any, second: Any, lanes: Sequence[int]) -> Any:
        """Make a vector of lanes of two others, numbered through."""
        chosen = ir.Constant(ir.VectorType(I32, len(lanes)), list(lanes))
        return self._builder.shuffle_vector(first, second, chosen)

    def count_leading(self, good: Any) -> Any:
        """Count the lanes before the first one that is not good."""
        builder = self._builder
        bad = builder.zext(builder.bitcast(builder.not_(good), ir.IntType(self._lanes)), I64)
        stop = ir.Constant(I64, 1 << self._lanes)
        return builder.cttz(builder.or_(bad, stop), ir.Constant(ir.IntType(1), 1))


def array_data(context: Any, builder: Any, signature: Any, arguments: Any, number: int) -> Any:
    """Return the address of the first element of an array that is an argument of an intrinsic."""
    return context.make_array(signature.args[number])(context, builder, arguments[number]).data

"""Products of small matrices in vector instructions, compiled: where the compiler knows d, a row is one vector.

Arrays on the stack (`compiled.local`) become single numbers before the compiler looks for what could be done four at a
time, and finds nothing. Here the rows are vectors from the start, in registers. All functions take the number of
states as the length of a tuple; given an array, for any number of states, they do nothing: loops along rows are as
good there, and are their callers'. Results may be the arrays that they come from.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from llvmlite import ir
from numba import config
from numba.core import types
from numba.core.errors import TypingError
from numba.extending import intrinsic

from kalman_em.arrays import Array

# Product and sum may be rounded at once, as in the kernels around.
_CONTRACT = ("contract",)
# The type of an argument of the compiled code, and what stands for its value there.
_Typed = tuple[Any, Any]


class _Rows:
    """Reads and writes arrays of float64 in the code that is being made: a number, or d of them as a vector."""

    def __init__(self, context: Any, builder: Any, d: int) -> None:
        self.context, self.builder, self.d = context, builder, d
        self.vector: Any = ir.VectorType(ir.DoubleType(), d)

    def pointers(self, array_type: Any, array: Any) -> Callable[[int], Any]:
        data = self.context.make_array(array_type)(self.context, self.builder, array).data
        return lambda i: self.builder.gep(data, [ir.Constant(ir.IntType(64), i)])

    def row(self, pointers: Callable[[int], Any], i: int) -> Any:
        pointer = self.builder.bitcast(pointers(i * self.d), self.vector.as_pointer())
        return self.builder.load(pointer, align=8)

    def rows(self, array_type: Any, array: Any) -> list[Any]:
        pointers = self.pointers(array_type, array)
        return [self.row(pointers, i) for i in range(self.d if array_type.ndim == 2 else 1)]

    def numbers(self, array_type: Any, array: Any) -> list[Any]:
        """Return all numbers of an array, each repeated to a vector."""
        pointers = self.pointers(array_type, array)
        return [self.repeated(self.builder.load(pointers(i))) for i in range(self.d**array_type.ndim)]

    def repeated(self, number: Any) -> Any:
        start = self.builder.insert_element(
            ir.Constant(self.vector, ir.Undefined), number, ir.Constant(ir.IntType(32), 0)
        )
        none = ir.Constant(ir.VectorType(ir.IntType(32), self.d), [0] * self.d)
        return self.builder.shuffle_vector(start, start, none)

    def store(self, array_type: Any, array: Any, rows: Sequence[Any]) -> None:
        pointers = self.pointers(array_type, array)
        for i, row in enumerate(rows):
            place = self.builder.bitcast(pointers(i * self.d), self.vector.as_pointer())
            self.builder.store(row, place, align=8)

    def times(self, left: Any, right: Any) -> Any:
        return self.builder.fmul(left, right, flags=_CONTRACT)

    def plus(self, total: Any, left: Any, right: Any) -> Any:
        product = self.times(left, right)
        return product if total is None else self.builder.fadd(total, product, flags=_CONTRACT)

    def minus(self, total: Any, left: Any, right: Any) -> Any:
        return self.builder.fsub(total, self.times(left, right), flags=_CONTRACT)


def _compiled(plain: Callable[..., None], write: Callable[..., None], n_arguments: int) -> Any:
    """Return the compiled form of `plain`, whose code `write` makes; `plain` itself under NUMBA_DISABLE_JIT=1."""
    if vars(config)["DISABLE_JIT"]:
        return lambda size, *arguments: plain(size, *arguments) if isinstance(size, tuple) else None

    def typed(size: Any, arguments: tuple[Any, ...]) -> Any:
        for one in arguments:
            if isinstance(one, types.Array) and (one.layout != "C" or one.dtype != types.float64):
                raise TypingError(f"{plain.__name__}: expected float64 with rows side by side, got {one}")

        def lowered(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            if isinstance(size, types.BaseTuple) and len(size):
                write(_Rows(context, builder, len(size)), *zip(arguments, values[1:], strict=True))
            return context.get_dummy_value()

        return types.none(size, *arguments), lowered

    return _INTRINSICS[n_arguments](typed)


def _of_three(typed: Any) -> Any:
    def of_three(typing_context: Any, size: Any, a: Any, b: Any, c: Any) -> Any:
        return typed(size, (a, b, c))

    return intrinsic(of_three)


def _of_four(typed: Any) -> Any:
    def of_four(typing_context: Any, size: Any, a: Any, b: Any, c: Any, d: Any) -> Any:
        return typed(size, (a, b, c, d))

    return intrinsic(of_four)


_INTRINSICS = {3: _of_three, 4: _of_four}


def _multiply(size: Any, start: Array | None, left: Array, right: Array, result: Array) -> None:
    # Scratch space may have more rows than there are states.
    product = left[: len(size)] @ right[: len(size)]
    result[: len(product)] = product if start is None else start + product


def _write_multiply(
    code: _Rows, start: _Typed, left: _Typed, right: _Typed, result: _Typed, *, crossed: bool = False
) -> None:
    d = code.d
    factors, rows = code.numbers(*left), code.rows(*right)
    sums = [None] * len(code.rows(*result)) if isinstance(start[0], types.NoneType) else code.rows(*start)
    for k in range(d):
        sums = [code.plus(row, factors[k * d + i if crossed else i * d + k], rows[k]) for i, row in enumerate(sums)]
    code.store(*result, sums)


def _multiply_crossed(size: Any, start: Array | None, left: Array, right: Array, result: Array) -> None:
    _multiply(size, start, left.T, right, result)


def _write_multiply_crossed(code: _Rows, *arguments: _Typed) -> None:
    _write_multiply(code, *arguments, crossed=True)


def _subtract_square(size: Any, vector: Array, factor: float, result: Array) -> None:
    result -= np.outer(vector, vector) * factor


def _write_subtract_square(code: _Rows, vector: Any, factor: _Typed, result: _Typed) -> None:
    # The products first: they are the same on both sides of the diagonal, and need not wait for the factor.
    (row,), numbers, scale = code.rows(*vector), code.numbers(*vector), code.repeated(factor[1])
    code.store(
        *result,
        [
            code.minus(old, code.builder.fmul(number, row), scale)
            for old, number in zip(code.rows(*result), numbers, strict=True)
        ],
    )


def _add_multiple(size: Any, factor: float, array: Array, result: Array) -> None:
    result += factor * array


def _write_add_multiple(code: _Rows, factor: _Typed, array: _Typed, result: _Typed) -> None:
    scale = code.repeated(factor[1])
    code.store(*result, [code.plus(*each, scale) for each in zip(code.rows(*result), code.rows(*array), strict=True)])


def _solve_factored(size: Any, upper: Array, inverses: Array, right: Array, result: Array) -> None:
    d = len(size)
    rows = right.copy()
    for i in range(d - 1, -1, -1):
        rows[i] -= upper[i, i + 1 :] @ rows[i + 1 :]
    for i in range(d):
        rows[i] = rows[i] * inverses[i] - upper[:i, i] @ rows[:i]
    result[...] = rows


def _write_solve_factored(code: _Rows, upper: _Typed, inverses: _Typed, right: _Typed, result: _Typed) -> None:
    d, rows, pivots = code.d, code.rows(*right), code.numbers(*inverses)
    pointers = code.pointers(*upper)
    entries = {(i, k): code.repeated(code.builder.load(pointers(i * d + k))) for k in range(d) for i in range(k)}
    for k in range(d - 1, 0, -1):
        for i in range(k):
            rows[i] = code.minus(rows[i], entries[i, k], rows[k])
    for i in range(d):
        rows[i] = code.times(rows[i], pivots[i])
    for k in range(d):
        for i in range(k + 1, d):
            rows[i] = code.minus(rows[i], entries[k, i], rows[k])
    code.store(*result, rows)


# result = start + left right; without `start`, the product alone. A single row in the place of `left` and of `result`
# is a product of a vector and a matrix.
multiply: Any = _compiled(_multiply, _write_multiply, 4)
# result = start + left' right.
multiply_crossed: Any = _compiled(_multiply_crossed, _write_multiply_crossed, 4)
# result = result - factor vector vector', to the last bit symmetric if it was.
subtract_square: Any = _compiled(_subtract_square, _write_subtract_square, 3)
# result = result + factor array, of vectors or matrices.
add_multiple: Any = _compiled(_add_multiple, _write_add_multiple, 3)
# result = (U D U')^-1 right, with the entries of U above its diagonal of ones, and those of D^-1.
solve_factored: Any = _compiled(_solve_factored, _write_solve_factored, 4)

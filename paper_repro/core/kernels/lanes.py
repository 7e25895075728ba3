"""A SIMD value for Numba: 64 bytes of floats that are added, multiplied and stored at once.

LLVM's loop vectoriser decides by heuristics; the inner loops of the kernel are too dear to leave
to them. `Lanes` is an LLVM vector (16 float32 or 8 float64 lanes) as a Numba type of its own, so a
loop body written with it becomes AVX-512 instructions where the CPU has them, and two, four or
more narrower ones where it does not. Arrays are flat; an index counts elements.

Mixed operands are broadcast: `0.5 * lanes` and `fma(lanes, scalar, lanes)` do what one expects.
"""

from __future__ import annotations

import operator

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.imputils import lower_builtin
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, models, register_model

BYTES = 64
"""Width of a `Lanes` value: one AVX-512 register."""


class Lanes(types.Type):
    """Numba type of a vector of `BYTES / itemsize` floats."""

    def __init__(self, dtype: types.Float):
        self.dtype = dtype
        self.width = BYTES // (dtype.bitwidth // 8)
        super().__init__(name=f"Lanes({self.width} x {dtype})")


@register_model(Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, dmm, fe_type):
        super().__init__(dmm, fe_type, _vector(fe_type))


def _scalar(lanes):
    return ir.FloatType() if lanes.dtype == types.float32 else ir.DoubleType()


def _vector(lanes):
    return ir.VectorType(_scalar(lanes), lanes.width)


def _common(*operands):
    """The Lanes type among operands of Lanes of one dtype and numbers, or None."""
    found = {operand for operand in operands if isinstance(operand, Lanes)}
    numbers = all(isinstance(operand, (Lanes, types.Number)) for operand in operands)
    return found.pop() if len(found) == 1 and numbers else None


def _splat(builder, value, lanes):
    zero = ir.Constant(ir.IntType(32), 0)
    undefined = ir.Constant(_vector(lanes), ir.Undefined)
    one = builder.insert_element(undefined, value, zero)
    mask = ir.Constant(ir.VectorType(ir.IntType(32), lanes.width), [0] * lanes.width)
    return builder.shuffle_vector(one, undefined, mask)


def constant(lanes, value):
    """LLVM constant with `value` in every lane."""
    return ir.Constant(_vector(lanes), [value] * lanes.width)


def _as_lanes(context, builder, value, kind, lanes):
    if isinstance(kind, Lanes):
        return value
    return _splat(builder, context.cast(builder, value, kind, lanes.dtype), lanes)


def _call(builder, name, lanes, operands):
    """Call an LLVM intrinsic such as `llvm.fma` on vectors."""
    vector = _vector(lanes)
    suffix = "f32" if lanes.dtype == types.float32 else "f64"
    function = cgutils.get_or_insert_function(
        builder.module,
        ir.FunctionType(vector, [vector] * len(operands)),
        f"{name}.v{lanes.width}{suffix}",
    )
    return builder.call(function, operands)


def _pointer(context, builder, array_type, array, index):
    struct = context.make_array(array_type)(context, builder, array)
    return builder.gep(struct.data, [index])


def _register_operator(op, build):
    @infer_global(op)
    class Template(AbstractTemplate):
        def generic(self, args, kws):
            lanes = _common(*args)
            return signature(lanes, *args) if lanes and len(args) == 2 else None

    def lower(context, builder, sig, args):
        lanes = sig.return_type
        left, right = (
            _as_lanes(context, builder, value, kind, lanes)
            for value, kind in zip(args, sig.args, strict=True)
        )
        return build(builder)(left, right)

    for pair in ((Lanes, Lanes), (Lanes, types.Number), (types.Number, Lanes)):
        lower_builtin(op, *pair)(lower)


_register_operator(operator.add, lambda builder: builder.fadd)
_register_operator(operator.sub, lambda builder: builder.fsub)
_register_operator(operator.mul, lambda builder: builder.fmul)


def _is_flat(array):
    return isinstance(array, types.Array) and array.ndim == 1 and array.layout == "C"


@intrinsic
def load(typingctx, array, index):
    """The lanes at `array[index:index + width]`; nothing is checked."""
    if not _is_flat(array):
        return None
    lanes = Lanes(array.dtype)

    def codegen(context, builder, sig, args):
        index = context.cast(builder, args[1], sig.args[1], types.intp)
        pointer = _pointer(context, builder, sig.args[0], args[0], index)
        pointer = builder.bitcast(pointer, _vector(lanes).as_pointer())
        return builder.load(pointer, align=lanes.dtype.bitwidth // 8)

    return lanes(array, index), codegen


@intrinsic
def store(typingctx, array, index, value):
    """Write lanes to `array[index:index + width]`; nothing is checked."""
    if not (_is_flat(array) and isinstance(value, Lanes)):
        return None

    def codegen(context, builder, sig, args):
        index = context.cast(builder, args[1], sig.args[1], types.intp)
        pointer = _pointer(context, builder, sig.args[0], args[0], index)
        pointer = builder.bitcast(pointer, _vector(value).as_pointer())
        builder.store(args[2], pointer, align=value.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(array, index, value), codegen


@intrinsic
def splat(typingctx, array, index):
    """`array[index]` in every lane; nothing is checked."""
    if not _is_flat(array):
        return None
    lanes = Lanes(array.dtype)

    def codegen(context, builder, sig, args):
        index = context.cast(builder, args[1], sig.args[1], types.intp)
        value = builder.load(_pointer(context, builder, sig.args[0], args[0], index))
        return _splat(builder, value, lanes)

    return lanes(array, index), codegen


@intrinsic
def zeros_like(typingctx, value):
    """Zero in every lane."""
    if not isinstance(value, Lanes):
        return None

    def codegen(context, builder, sig, args):
        return constant(value, 0.0)

    return value(value), codegen


@intrinsic
def fma(typingctx, a, b, c):
    """`a * b + c` in one rounding."""
    lanes = _common(a, b, c)
    if lanes is None:
        return None

    def codegen(context, builder, sig, args):
        operands = [
            _as_lanes(context, builder, value, kind, lanes)
            for value, kind in zip(args, sig.args, strict=True)
        ]
        return _call(builder, "llvm.fma", lanes, operands)

    return lanes(a, b, c), codegen


@intrinsic
def absolute(typingctx, a):
    """Absolute value."""
    if not isinstance(a, Lanes):
        return None

    def codegen(context, builder, sig, args):
        return _call(builder, "llvm.fabs", a, args)

    return a(a), codegen


@intrinsic
def square_root(typingctx, a):
    """Square root, correctly rounded."""
    if not isinstance(a, Lanes):
        return None

    def codegen(context, builder, sig, args):
        return _call(builder, "llvm.sqrt", a, args)

    return a(a), codegen


@intrinsic
def reciprocal_root(typingctx, a):
    """`1 / sqrt(a)` to about one unit in the last place, for a > 0."""
    if not isinstance(a, Lanes):
        return None

    def codegen(context, builder, sig, args):
        return _reciprocal_root(builder, a, args[0])

    return a(a), codegen


def _reciprocal_root(builder, lanes, value):
    # The flags let LLVM refine the CPU's estimate instead of a square root and a division.
    flags = ("arcp", "afn", "contract", "reassoc", "ninf", "nnan")
    root = _call(builder, "llvm.sqrt", lanes, [value])
    root.fastmath.update(flags)
    return builder.fdiv(constant(lanes, 1.0), root, flags=flags)


@intrinsic
def reciprocal(typingctx, a):
    """`1 / a` to about one unit in the last place, for a > 0 of any size."""
    if not isinstance(a, Lanes):
        return None

    def codegen(context, builder, sig, args):
        # By 1 / sqrt(a^2), where a^2 is in range as it is or after a power of two.
        exponent = 128 if a.dtype == types.float32 else 1024
        far, factor = 2.0 ** (exponent * 5 // 16), 2.0 ** (exponent // 2)
        scale = constant(a, 1.0)
        for comparison, limit, power in ((">", far, 1 / factor), ("<", 1 / far, factor)):
            beyond = builder.fcmp_ordered(comparison, args[0], constant(a, limit))
            scale = builder.select(beyond, constant(a, power), scale)
        value = builder.fmul(args[0], scale)
        return builder.fmul(_reciprocal_root(builder, a, builder.fmul(value, value)), scale)

    return a(a), codegen


@intrinsic
def where_greater(typingctx, a, b, chosen, other):
    """`chosen` in the lanes where `a > b`, else `other`."""
    lanes = _common(a, b, chosen, other)
    if lanes is None:
        return None

    def codegen(context, builder, sig, args):
        a, b, chosen, other = (
            _as_lanes(context, builder, value, kind, lanes)
            for value, kind in zip(args, sig.args, strict=True)
        )
        return builder.select(builder.fcmp_ordered(">", a, b), chosen, other)

    return lanes(a, b, chosen, other), codegen


def polynomial(coefficients_of):
    """An intrinsic that evaluates a polynomial by Horner's rule.

    Args:
      coefficients_of: a function from NumPy dtype name to coefficients, constant term first.
    """

    @intrinsic
    def evaluate(typingctx, a):
        if not isinstance(a, Lanes):
            return None

        def codegen(context, builder, sig, args):
            *rest, value = (constant(a, c) for c in coefficients_of(str(a.dtype)))
            for coefficient in reversed(rest):
                value = _call(builder, "llvm.fma", a, [value, args[0], coefficient])
            return value

        return a(a), codegen

    return evaluate

"""Ask for a cache line before it is needed: LLVM's ``prefetch``, which kernels have no Python spelling for."""

from typing import Any

import numba
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

_ALL_CACHES, _DATA = 3, 1  # llvm.prefetch's arguments: locality and kind of cache


def _generate_for(rw: int) -> Any:
    """Return what generates the code to prefetch an array's item; ``rw`` is 1 where a write follows."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = signature.args[0]
        array = context.make_array(kind)(context, builder, args[0])
        at = [context.cast(builder, arg, of, types.intp) for arg, of in zip(args[1:], signature.args[1:], strict=True)]
        address = cgutils.get_item_pointer(context, builder, kind, array, at, wraparound=False)
        line = builder.bitcast(address, ir.IntType(8).as_pointer())
        i32 = ir.IntType(32)
        llvm_type = ir.FunctionType(ir.VoidType(), [line.type, i32, i32, i32])
        llvm = cgutils.get_or_insert_function(builder.module, llvm_type, "llvm.prefetch.p0")
        builder.call(llvm, [line, i32(rw), i32(_ALL_CACHES), i32(_DATA)])
        return context.get_dummy_value()

    return generate


def _prefetch_for(rw: int) -> Any:
    """Return the intrinsic that prefetches ``words[i, j]``."""

    @intrinsic
    def prefetch_word(typing_context: Any, words: Any, i: Any, j: Any) -> Any:
        return types.void(words, i, j), _generate_for(rw)

    return prefetch_word


@intrinsic
def _prefetch_item(typing_context: Any, words: Any, i: Any) -> Any:
    return types.void(words, i), _generate_for(1)


def _nothing(words: Any, *at: int) -> None:
    """Take the place of the intrinsics where kernels run as plain Python."""


if numba.config.DISABLE_JIT:
    prefetch = prefetch_to_write = prefetch_item_to_write = _nothing
else:
    prefetch, prefetch_to_write, prefetch_item_to_write = _prefetch_for(0), _prefetch_for(1), _prefetch_item

"""Ask for a cache line before it is needed: LLVM's ``prefetch``, which kernels have no Python spelling for."""

from typing import Any

import numba
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

_ALL_CACHES, _DATA = 3, 1  # llvm.prefetch's arguments: locality and kind of cache


def _prefetch_for(rw: int) -> Any:
    """Return the intrinsic that prefetches ``words[i, j]``; ``rw`` is 1 where a write follows."""

    @intrinsic
    def prefetch_word(typing_context: Any, words: Any, i: Any, j: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            kind = signature.args[0]
            array = context.make_array(kind)(context, builder, args[0])
            at = [
                context.cast(builder, arg, of, types.intp) for arg, of in zip(args[1:], signature.args[1:], strict=True)
            ]
            address = cgutils.get_item_pointer(context, builder, kind, array, at, wraparound=False)
            line = builder.bitcast(address, ir.IntType(8).as_pointer())
            i32 = ir.IntType(32)
            llvm_type = ir.FunctionType(ir.VoidType(), [line.type, i32, i32, i32])
            llvm = cgutils.get_or_insert_function(builder.module, llvm_type, "llvm.prefetch.p0")
            builder.call(llvm, [line, i32(rw), i32(_ALL_CACHES), i32(_DATA)])
            return context.get_dummy_value()

        return types.void(words, i, j), generate

    return prefetch_word


def _nothing(words: Any, i: int, j: int) -> None:
    """Take the place of the intrinsics where kernels run as plain Python."""


if numba.config.DISABLE_JIT:
    prefetch = prefetch_to_write = _nothing
else:
    prefetch, prefetch_to_write = _prefetch_for(0), _prefetch_for(1)

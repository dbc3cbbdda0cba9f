"""The precision of float32 products, whatever the training around has chosen."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

# Each may be set to round a float32 product's factors to tf32 or bf16 before they are multiplied.
_OPERATIONS: tuple[Any, ...] = (
    torch.backends.cuda.matmul,
    torch.backends.mkldnn.matmul,  # type: ignore[attr-defined]
    torch.backends.cudnn.conv,  # type: ignore[attr-defined]
    torch.backends.mkldnn.conv,  # type: ignore[attr-defined]
)


@contextmanager
def exact_float32() -> Iterator[None]:
    """Autocast, TF32 and bf16 products off inside, on CPU and accelerators; as they were after."""
    with _precisions("ieee", "ieee"):
        yield


@contextmanager
def exact_bfloat16() -> Iterator[None]:
    """Inside, a float32 matrix product is exact, but for its sums, only where the factors are bf16's values: and fast.

    Accelerators multiply them as tf32, of which bf16 is a part, CPUs as bf16; both sum in float32.
    """
    with _precisions("tf32", "bf16"):
        yield


@contextmanager
def _precisions(accelerator_product: str, cpu_product: str) -> Iterator[None]:
    before = [operation.fp32_precision for operation in _OPERATIONS]
    accelerator = torch.accelerator.current_accelerator()
    with ExitStack() as stack:
        stack.enter_context(torch.autocast("cpu", enabled=False))
        if accelerator is not None:
            stack.enter_context(torch.autocast(accelerator.type, enabled=False))
        try:
            wanted = (accelerator_product, cpu_product, "ieee", "ieee")
            for operation, precision in zip(_OPERATIONS, wanted, strict=True):
                operation.fp32_precision = precision
            yield
        finally:
            for operation, precision in zip(_OPERATIONS, before, strict=True):
                operation.fp32_precision = precision


def has_bfloat16_units() -> bool:
    """Whether this CPU multiplies bf16 faster than float32 (AVX-512's BF16, AMX): elsewhere it is emulated, slowly."""
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))

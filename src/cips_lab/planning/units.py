"""Numbers as people read them: FLOPs, parameters, bytes, durations."""


def flops(number: float, digits: int = 3) -> str:
    """FLOPs in the unit that suits them, or FLOP/s if "/s" is added: ``108 MFLOP``."""
    for unit, factor in (("EFLOP", 1e18), ("PFLOP", 1e15), ("TFLOP", 1e12), ("GFLOP", 1e9)):
        if number >= factor:
            return f"{number / factor:.{digits}g} {unit}"
    return f"{number / 1e6:.{digits}g} MFLOP"


def parameters(number: float) -> str:
    """A number of parameters: ``45.9 M``, ``83.2 k``."""
    return f"{number / 1e6:.3g} M" if number >= 1e6 else f"{number / 1e3:.3g} k"


def size(number: int) -> str:
    """Bytes in the unit that suits them."""
    return f"{number / 2**30:,.2f} GiB" if number >= 2**30 else f"{number / 2**20:,.1f} MiB"


def duration(seconds: float) -> str:
    """In the unit that suits it."""
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:,.1f} {unit}"
    return f"{seconds:,.1f} seconds"

"""The laboratory for CIPS: image generators with conditionally-independent pixel synthesis.

from cips_lab import load_generator
generator = load_generator("runs/quickstart")
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cips_lab.interop.native import load_generator
    from cips_lab.reporting.model_card import push_to_hub

__version__ = "0.1.0"
__all__ = ["__version__", "load_generator", "push_to_hub"]


def __getattr__(name: str) -> Any:
    # Imported when asked for: `python -m cips_lab.train --help` should not wait for it.
    if name == "load_generator":
        from cips_lab.interop.native import load_generator

        return load_generator
    if name == "push_to_hub":
        from cips_lab.reporting.model_card import push_to_hub

        return push_to_hub
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

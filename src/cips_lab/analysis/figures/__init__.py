"""The figures: a module each, of the figure's name, with a `FIGURE` (see `cips_lab.analysis.figure`)."""

import pkgutil


def names() -> list[str]:
    """Of all figures, sorted; none is imported."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))

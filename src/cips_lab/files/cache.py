"""Where prepared data and statistics are kept between runs."""

import os
from pathlib import Path


def cache_folder(cache: str | Path | None = None) -> Path:
    """`cache` if given, else `$CIPS_LAB_CACHE`, else `~/.cache/cips_lab`. It need not exist."""
    return Path(cache or os.environ.get("CIPS_LAB_CACHE") or "~/.cache/cips_lab").expanduser()

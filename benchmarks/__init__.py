"""Speed and memory, measured: `make bench`."""

import cips_lab.cli  # noqa: F401 - sets what OpenMP reads when torch is imported, as every command does

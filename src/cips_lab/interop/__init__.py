"""Checkpoints and formats of other software."""

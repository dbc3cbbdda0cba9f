"""Inversion: which styles of a generator make a given picture."""

"""Sets of pictures of one size, made of whatever people have: the wing of `python -m cips_lab.prepare`."""

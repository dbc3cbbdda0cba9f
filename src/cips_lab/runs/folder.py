"""The names of a run folder's files, and how a moment is written in them."""


def kimg_label(images_seen: int) -> str:
    """Fixed-width, sortable and free of '=': ``kimg-00012.800``."""
    return f"kimg-{images_seen / 1000:09.3f}"

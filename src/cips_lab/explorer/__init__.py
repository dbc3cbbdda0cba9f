"""A trained generator as one page: its weights and the code that draws them, opened from a disk, asking for nothing."""

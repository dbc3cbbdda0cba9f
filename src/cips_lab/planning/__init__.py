"""What a run will cost: counted from its configuration, nothing is allocated."""

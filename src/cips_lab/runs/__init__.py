"""What a run folder is: its files, what they say, and when two runs are the same."""

"""Files: whole or not at all, read without trust, free of secrets."""

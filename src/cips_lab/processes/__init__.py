"""Several processes that work together: who they are, how they are started, what they exchange, how they end."""

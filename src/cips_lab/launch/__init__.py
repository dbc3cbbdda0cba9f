"""From a configuration to a finished run, or to a sweep of them."""

"""Pictures of a generator: the one way for commands, callbacks and pages."""

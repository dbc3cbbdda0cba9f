"""Tables of sweeps and pages of runs, made from what a run folder holds; no checkpoint is read."""

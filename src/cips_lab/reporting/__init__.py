"""What is made of runs: tables, pages, W&B dashboards and sweeps. No checkpoint is read."""

"""What is made of runs: tables, reports, W&B dashboards and sweeps."""

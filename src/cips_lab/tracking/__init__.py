"""Weights & Biases, TensorBoard and CSV: nothing else of the package imports wandb."""

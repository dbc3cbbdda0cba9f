"""Weights & Biases and TensorBoard: nothing else of the package imports wandb."""

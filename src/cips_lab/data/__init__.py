"""Training pictures: where they are (sources), how they are cut (dataset), in which order (sampler, datamodule)."""

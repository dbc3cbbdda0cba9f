"""The LightningModule and what it is made of."""

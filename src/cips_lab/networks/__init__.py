"""nn.Modules that know nothing of training: the generators, the discriminator and their layers."""

"""Train the model of the width of the kernel, from made scenes only."""

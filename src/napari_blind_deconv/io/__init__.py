"""Files: planes and stacks with their pixel sizes, kernels and traces."""

"""Read and write files: planes and stacks with their pixel sizes, kernels and traces."""

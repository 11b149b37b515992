"""Files: image planes with their pixel size, kernels and traces."""

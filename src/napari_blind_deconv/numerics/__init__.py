"""The mathematics of double-DIP blind deconvolution: tensors in, tensors out.

This package knows nothing about settings, files, progress reports or user interfaces. The caller
chooses the device and seeds the random numbers.
"""

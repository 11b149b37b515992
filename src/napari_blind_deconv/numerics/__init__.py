"""The mathematics of double-DIP blind deconvolution: tensors in, tensors out.

Nothing here knows about settings, files, progress or a screen. Devices and random seeds come from
the caller.
"""

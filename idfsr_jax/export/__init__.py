"""A model for those without this package: its sampler as one `jax.export` artifact, its denoiser as ONNX."""

"""The method: everything between a photograph and the denoiser, each step in a file of its name."""

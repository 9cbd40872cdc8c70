"""Neural networks as torch modules: no input or output, no losses, no loops."""

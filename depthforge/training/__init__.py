"""Training: what a method must give, the one loop, checkpoints, the watch for collapse."""

"""A sensor's parameters from scans of it, unpaired: no ground truth, no second sensor. ``fit`` is the whole of it."""

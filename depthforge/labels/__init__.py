"""Labels: what each is (``spec``, ``catalogue``), how it resizes, what noise does to it, and what class ids mean."""

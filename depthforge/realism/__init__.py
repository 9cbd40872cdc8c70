"""How close a set of depth images is to a real sensor's, in numbers; see ``compare`` for the whole of it."""

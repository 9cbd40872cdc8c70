"""Furnished rooms from a seed: the embedded default. ``build.build_room`` makes one, ``paths`` walks a camera through
it, ``raycast`` sees it, ``shading`` colours it; the source ``procedural`` puts these together."""

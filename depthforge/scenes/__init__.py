"""Procedural scenes from a seed. ``room.build_room`` furnishes a room and ``paths`` walks a camera through it: the
embedded default. ``raycast`` sees a scene, ``shading`` colours it; sources and sample layouts put these together."""

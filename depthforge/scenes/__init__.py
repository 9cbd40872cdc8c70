"""Procedural scenes from a seed: the embedded default, and what sample layouts are made of.

``room`` furnishes a room and ``paths`` walks a camera through it; ``tabletop`` lays objects of a catalogue on a table;
``street`` builds a road with traffic, along which a car drives, and ``sweep`` turns a laser scanner on it. All are a
``world``: shapes that ``raycast`` sees and ``shading`` colours, with classes, instances and poses.
"""

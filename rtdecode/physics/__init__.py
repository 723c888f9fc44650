"""Optics and camera: what light does before a number is read."""

"""Scribble-supervised methods: a few annotated pixels per image. One file each; file name = name."""

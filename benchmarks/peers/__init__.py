"""Training and testing as the released codes do it, written anew from their descriptions, and peers from packages.

A plain loop reads one h5 file per sample, augments it with scipy on one core, computes in float32 with channels first,
logs every loss at every step and tests slice by slice. Where a method's own loss is not written anew here, the plain
loop calls ours, so its ratio leaves out what a released loss costs more.
"""

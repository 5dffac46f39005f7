"""Loss terms as pure functions of logits or probabilities ``(n, c, *space)``; one idea per file.

Label maps are ``(n, *space)`` int64 with IGNORE. Every term is computed in float32 whatever the precision of its
inputs, is finite for any label map (all IGNORE included) and returns a scalar, unless its name says map.
"""

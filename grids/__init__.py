"""Questions of the city: what is watched and what is not, the layout, the rules.

Reads through `layers`, computes with `gis`, stores results as layers.
"""

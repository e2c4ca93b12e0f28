"""The definitions: Python int and Fraction, one scalar at a time, no NumPy and no cleverness.

Read these to learn what a format does.  The fast kernels of `refimpl.kernels`, which import
nothing from here, are held to them bit for bit.
"""

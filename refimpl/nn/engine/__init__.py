"""How a network is computed fast: its program, the memory it runs in, and the kernels of training.

`program` writes a network down as a list of calls of compiled kernels; `workspace` says where in memory
each tensor lies; the other files are kernels, compiled as those of `refimpl.kernels` are.  The layers of
`refimpl.nn`, one by one, say what has to come out, to the bit.
"""

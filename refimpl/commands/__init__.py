"""The commands of the command line, one file each: a few lines around a public function.

A command file has ``add(commands)``, which declares its options and, as ``run``, what it does.
"""

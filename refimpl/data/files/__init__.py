"""Data sets from files people have: CIFAR, IDX (MNIST and its like), folders of images, npz.

Nothing is downloaded and nothing is unpickled.  Files that are missing, cut short or damaged are
named, with what was found and what was expected.
"""

from refimpl.data.files.arrays import read_npz
from refimpl.data.files.cifar import cifar100_superclasses, read_cifar10, read_cifar100
from refimpl.data.files.folders import read_folder
from refimpl.data.files.idx import read_idx

__all__ = ["cifar100_superclasses", "read_cifar10", "read_cifar100", "read_folder", "read_idx", "read_npz"]

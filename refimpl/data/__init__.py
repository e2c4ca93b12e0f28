"""Real data that ships with the package or with Python, as small classification tasks.

`load` makes a `Task` from its name and `names` lists what there is: the handwritten digits, eighteen
tasks of printed characters and ten that are drawn, to learn from beforehand, and chapters of Python's
own manual. Everything is read from two small files beside this one, without pickle, and from a module
of Python, or drawn; nothing is downloaded. The path of files you have does as well as a name: CIFAR, IDX
(MNIST), folders of images, npz; the `read_` functions read them with more options.
`ATTRIBUTION.md` says whose work the data are.

>>> from refimpl import data
>>> data.load("digits").train_images.shape
(1437, 8, 8, 1)
"""

from refimpl.data.catalogue import load, names
from refimpl.data.files import cifar100_superclasses, read_cifar10, read_cifar100, read_folder, read_idx, read_npz
from refimpl.data.task import Task
from refimpl.data.text import TokenTask, manual

__all__ = [
    "Task",
    "TokenTask",
    "cifar100_superclasses",
    "load",
    "manual",
    "names",
    "read_cifar10",
    "read_cifar100",
    "read_folder",
    "read_idx",
    "read_npz",
]

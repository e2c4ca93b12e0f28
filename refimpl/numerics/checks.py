"""What functions of this room ask of their arguments before they begin: one error each, in words."""

from __future__ import annotations

import numpy as np

from refimpl.nn.layers import Sequential
from refimpl.ops import arrays

NETWORK = "a trained network, which refimpl.nn.fit returns as .model"
POLICY = "a refimpl.Precision, or refimpl.nn.preset(name)"


def of_kind(verb: str, what: str, value, kind: type, give: str) -> None:
    """Refuse what is not of a kind."""
    if not isinstance(value, kind):
        shown = " ".join(repr(value).split())
        raise TypeError(f"{verb}: {what} is {type(value).__name__} {shown:.60}; give {give}")


def several(verb: str, what: str, given, such) -> list:
    """Return a list of at least one thing; TypeError for what is no list, ValueError if it is empty."""
    try:
        found = None if isinstance(given, str) else list(given)
    except TypeError:
        found = None
    if not found:
        kind = TypeError if found is None else ValueError
        shown = " ".join(repr(given).split())
        raise kind(f"{verb}: {what} is {shown:.60}; give a list of at least one, such as {such}")
    return found


def trained(verb: str, model) -> None:
    """Refuse what is no network, or one without weights, or with weights that are not finite."""
    of_kind(verb, "the model", model, Sequential, NETWORK)
    for layer in model.every_layer():
        if layer.parameter_count() and not layer.parameters:
            raise ValueError(f"{verb}: layer {layer.name!r} has no weights yet; train the network by refimpl.nn.fit")
        for name, array in [*((n, t.data) for n, t in layer.parameters.items()), *layer.state().items()]:
            if not np.isfinite(array).all():
                raise ValueError(
                    f"{verb}: {name} of layer {layer.name!r} is not finite; the training of this "
                    "network has diverged: train it again with a lower rate or another seed"
                )


def images_for(verb: str, model: Sequential, images) -> np.ndarray:
    """Return images as an array, refusing those that the network does not take."""
    images = arrays.array(verb, images)
    if images.ndim < 2 or not len(images) or images.dtype != np.float32:
        raise ValueError(
            f"{verb}: got images of {images.dtype} {images.shape}; allowed is float32 "
            "(n, height, width, channels) with at least one image"
        )
    try:
        model.output_shape(images.shape[1:])
    except ValueError as error:
        raise ValueError(
            f"{verb}: images of shape {images.shape} do not fit the network ({error}); give "
            "(n, height, width, channels), a single image as image[np.newaxis]"
        ) from None
    arrays.finite(verb, images)
    return images

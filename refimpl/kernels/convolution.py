"""Patches of images as rows of a matrix, and back; the definition is `refimpl.spec.convolution`."""

from refimpl.kernels._compiled import compiled


@compiled
def gather(x, patches, rows, columns, down, across, stride, padding):
    """Write the receptive field of each output position as one row, zeros outside the image.

    x: (batch, height, width, channels); patches: (batch down across, rows columns channels).
    """
    batch, height, width, channels = x.shape
    for b in range(batch):
        for i in range(down):
            for j in range(across):
                row = patches[(b * down + i) * across + j]
                for r in range(rows):
                    y = i * stride + r - padding
                    for c in range(columns):
                        z = j * stride + c - padding
                        at = (r * columns + c) * channels
                        if 0 <= y < height and 0 <= z < width:
                            for k in range(channels):
                                row[at + k] = x[b, y, z, k]
                        else:
                            for k in range(channels):
                                row[at + k] = 0


@compiled
def scatter(patches, x, rows, columns, down, across, stride, padding):
    """Add each row of patches back to the places `gather` reads it from (its transpose).

    Each pixel receives its summands in the order of output positions.
    """
    batch, height, width, channels = x.shape
    for b in range(batch):
        for i in range(down):
            for j in range(across):
                row = patches[(b * down + i) * across + j]
                for r in range(rows):
                    y = i * stride + r - padding
                    for c in range(columns):
                        z = j * stride + c - padding
                        at = (r * columns + c) * channels
                        if 0 <= y < height and 0 <= z < width:
                            for k in range(channels):
                                x[b, y, z, k] += row[at + k]

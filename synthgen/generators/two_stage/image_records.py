"""Hand images with their classes and covariates to DP-SGD, one batch at a time."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from synthgen.data.images import RealImages, intensities
from synthgen.dpsgd.patient_sampling import Batch, Integers, TensorRecords
from synthgen.generators.image_statistics.conditioning import Conditioning


@dataclass(frozen=True)
class ImageRecords:
    """Images with classes and guides, as they were read: numbers of 4 bytes a value are made by the batch.

    Attributes:
        data: the images. Sensitive.
        others: tensors of their classes and guides. Sensitive.
    """

    data: RealImages = field(repr=False)
    others: TensorRecords

    def fetch(self, index: Integers) -> Batch:
        """Return records by number: intensities from -1 to 1, classes and guides."""
        images = torch.from_numpy(intensities(self.data.pixels[index], self.data.schema) * 2 - 1)
        return {"images": images, **self.others.fetch(index)}

    def made_up(self, n_rows: int, seed: int) -> Batch:
        """Return rows of the same shapes and types that no patient has."""
        generator = torch.Generator().manual_seed(seed)
        images = torch.randn(n_rows, *self.data.pixels.shape[1:], generator=generator)
        return {"images": images, **self.others.made_up(n_rows, seed + 1)}


def records_of(data: RealImages) -> ImageRecords:
    """Return images from -1 to 1 with classes and guides. Sensitive."""
    conditioning = Conditioning.of(data.schema)
    classes = torch.from_numpy(conditioning.class_of(data.frame))
    guides = torch.from_numpy(conditioning.guides_of(data.frame)).float()
    return ImageRecords(data, TensorRecords({"classes": classes, "guides": guides}))

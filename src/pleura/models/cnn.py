"""The brief's network: plain convolution and pooling, the size of the input in, the same size out.

Shapes: B batch, C channels, H rows, W columns.
"""

from itertools import pairwise

from torch import Tensor, nn

from pleura.models.blocks import Head, channels


class CNN(nn.Module):
    """An encoder-decoder of 3 x 3 "same" convolutions with ReLU, max-pooling and upsampling.

    Each level has two convolutions. `depth` poolings halve the picture, as many upsamplings bring
    it back; there are no connections across. The output are logits: their sigmoid is the
    probability of each pixel.
    """

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        sizes = channels(width, depth)
        layers: list[nn.Module] = [*_convolutions(1, sizes[0])]
        for small, large in pairwise(sizes):
            layers += [nn.MaxPool2d(2), *_convolutions(small, large)]
        for large, small in pairwise(reversed(sizes)):
            layers += [nn.Upsample(scale_factor=2, mode="nearest"), *_convolutions(large, small)]
        self.layers = nn.Sequential(*layers)
        self.head = Head(sizes[0])

    def forward(self, x_B1HW: Tensor) -> Tensor:
        """Return logits (B, 1, H, W) for normalised radiographs (B, 1, H, W)."""
        logits: Tensor = self.head(self.layers(x_B1HW))
        return logits


def _convolutions(in_channels: int, out_channels: int) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for source in (in_channels, out_channels):
        convolution = nn.Conv2d(source, out_channels, kernel_size=3, padding="same")
        nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
        layers += [convolution, nn.ReLU(inplace=True)]
    return layers

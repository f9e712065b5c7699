"""The brief's network: plain convolution and pooling, the size of the input in, the same size out.

Shapes: B batch, C channels, H rows, W columns.
"""

from itertools import pairwise

from torch import Tensor, nn

from pleura.models.blocks import Head, Outputs, ScoreHead, channels


class CNN(nn.Module):
    """An encoder-decoder of 3 x 3 "same" convolutions with ReLU, max-pooling and upsampling.

    Each level has two convolutions. `depth` poolings halve the picture, as many upsamplings bring
    it back; there are no connections across.
    """

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        sizes = channels(width, depth)
        down: list[nn.Module] = [*_convolutions(1, sizes[0])]
        for small, large in pairwise(sizes):
            down += [nn.MaxPool2d(2), *_convolutions(small, large)]
        up: list[nn.Module] = []
        for large, small in pairwise(reversed(sizes)):
            up += [nn.Upsample(scale_factor=2, mode="nearest"), *_convolutions(large, small)]
        self.encoder, self.decoder = nn.Sequential(*down), nn.Sequential(*up)
        self.head = Head(sizes[0])
        self.score = ScoreHead(sizes[-1])

    def forward(self, x_B1HW: Tensor) -> Outputs:
        """Return the logits for normalised radiographs ``(B, 1, H, W)``."""
        features = self.encoder(x_B1HW)
        mask: Tensor = self.head(self.decoder(features))
        return Outputs(mask, self.score(features, mask))


def _convolutions(in_channels: int, out_channels: int) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for source in (in_channels, out_channels):
        convolution = nn.Conv2d(source, out_channels, kernel_size=3, padding="same")
        nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
        layers += [convolution, nn.ReLU(inplace=True)]
    return layers

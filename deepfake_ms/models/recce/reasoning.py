"""Multi-scale graph reasoning of RECCE: passes information from the decoder maps to each encoder position.

Cao et al., *End-to-End Reconstruction-Classification Learning for Face Forgery Detection* (CVPR 2022), section 3.3.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class GraphReasoning(nn.Module):
    """One bipartite graph per decoder map, with edges from each encoder position to the decoder positions it covers.

    In a decoder map r times as large as the encoder map, each encoder position has r x r neighbours. Their embeddings
    are averaged with weights that depend on both ends of the edge, and the average is gated by the encoder position.
    The averages and the position's own embedding are concatenated and projected back to the encoder's channels.

    Args:
        features: channels of the encoder map.
        map_features: channels of each decoder map.
        ratios: height and width of each decoder map relative to the encoder map.
        embedding: channels of every embedding.
        drop_rate: dropout rate of the output.
    """

    def __init__(
        self,
        features: int,
        map_features: Sequence[int],
        ratios: Sequence[int] = (2, 4),
        embedding: int = 256,
        drop_rate: float = 0.2,
    ):
        super().__init__()
        self.embed = _embedding(features, embedding)
        self.neighbourhoods = nn.ModuleList(
            Neighbourhood(features, channels, embedding, ratio)
            for channels, ratio in zip(map_features, ratios, strict=True)
        )
        self.project = nn.Sequential(
            nn.Conv2d((1 + len(ratios)) * embedding, features, kernel_size=1, bias=False),
            nn.ReLU(inplace=True),
            nn.Conv2d(features, features, kernel_size=1, bias=False),
            nn.Dropout(drop_rate),
        )

    def forward(self, features: Tensor, maps: Sequence[Tensor]) -> Tensor:
        """The update to add to `features`, with the same shape.

        Args:
            features: encoder map ``[B, features, s, s]``.
            maps: decoder maps ``[B, map_features[i], ratios[i] * s, ratios[i] * s]``.
        """
        own = self.embed(features)
        averages = [average(features, own, each) for average, each in zip(self.neighbourhoods, maps, strict=True)]
        return self.project(torch.cat([*averages, own], dim=1).sigmoid())


class Neighbourhood(nn.Module):
    """The gated, weighted average of the decoder positions that each encoder position covers.

    The score of an edge is the ReLU of a linear function of the embeddings at its two ends; the weights are the softmax
    of the scores over the r x r edges of a position. The gate is 1 - sigmoid of a linear function of the encoder's
    features.
    """

    def __init__(self, features: int, map_features: int, embedding: int, ratio: int):
        super().__init__()
        self.ratio = ratio
        self.embed = _embedding(map_features, embedding)
        self.gate = nn.Conv2d(features, embedding, kernel_size=1, bias=False)
        self.edge = nn.Linear(2 * embedding, 1, bias=False)  # first half: encoder end, second half: decoder end

    def forward(self, features: Tensor, own: Tensor, decoder_map: Tensor) -> Tensor:
        """Gated averages ``[B, E, s, s]``.

        Args:
            features: encoder map ``[B, C, s, s]``.
            own: embedding of the encoder map ``[B, E, s, s]``.
            decoder_map: decoder map ``[B, M, ratio * s, ratio * s]``.
        """
        batch, channels, height, width = own.shape
        ratio = self.ratio
        neighbours = self.embed(decoder_map).view(batch, channels, height, ratio, width, ratio)
        # A linear function of two concatenated vectors is a sum of two, one per vector, so no pair is materialised.
        of_own, of_neighbours = self.edge.weight[0].chunk(2)
        score = torch.einsum("bchw,c->bhw", own, of_own)[:, :, None, :, None]
        score = score + torch.einsum("bchiwj,c->bhiwj", neighbours, of_neighbours)
        edges = score.relu().transpose(2, 3).flatten(3).softmax(dim=3)
        edges = edges.view(batch, height, width, ratio, ratio).transpose(2, 3)
        average = torch.einsum("bchiwj,bhiwj->bchw", neighbours, edges)
        return average * (1 - self.gate(features).sigmoid())


def _embedding(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel_size=1, bias=False),
        nn.ReLU(inplace=True),
        nn.Conv2d(out_channels, out_channels, kernel_size=1, bias=False),
    )

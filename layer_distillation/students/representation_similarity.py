"""Linear CKA: how alike two sets of features of the same rows are, whatever their rotation and scale.

Kornblith et al. 2019 (arXiv:1905.00414), section 3, the linear kernel in its feature form:
`||Y^T X||_F^2 / (||X^T X||_F ||Y^T Y||_F)` with both centred over the rows. It is 1 for the same features, 0 for
uncorrelated ones. Fewer rows than columns make it too high: compare such values with one another only.
"""

import torch
from torch import Tensor

ROUNDING = 1e-14  # what a mean in float64 may be off by, relative to it


class CentredProducts:
    """X^T Y with X and Y centred over all rows, added up batch by batch in float64.

    Each batch is centred by its own mean and then merged exactly (Chan, Golub and LeVeque 1979): a large mean, as
    hidden states have in some columns, cancels nothing. Leading dimensions, if any, are separate products.
    """

    def __init__(self) -> None:
        self.rows = 0
        self.products = torch.zeros(())
        self._mean_x = self._mean_y = torch.zeros(())

    def add(self, features_x: Tensor, features_y: Tensor) -> None:
        """Takes (..., rows, width_x) and (..., rows, width_y) in; `products` is (..., width_x, width_y)."""
        if features_x.shape[:-1] != features_y.shape[:-1] or features_x.shape[-2] == 0:
            raise ValueError(
                f"features are {tuple(features_x.shape)} and {tuple(features_y.shape)}: both need the same rows, "
                "one at least"
            )
        features_x, features_y = features_x.double(), features_y.double()
        mean_x, mean_y = features_x.mean(dim=-2, keepdim=True), features_y.mean(dim=-2, keepdim=True)
        products = (features_x - mean_x).mT @ (features_y - mean_y)
        if self.rows == 0:
            self.rows, self.products, self._mean_x, self._mean_y = features_x.shape[-2], products, mean_x, mean_y
            return
        share = features_x.shape[-2] / (self.rows + features_x.shape[-2])
        shift_x, shift_y = mean_x - self._mean_x, mean_y - self._mean_y
        self.products += products + self.rows * share * (shift_x.mT @ shift_y)
        self._mean_x, self._mean_y = self._mean_x + share * shift_x, self._mean_y + share * shift_y
        self.rows += features_x.shape[-2]

    def measure_spread(self) -> Tensor:
        """The Frobenius norm of each product: (...,); raises ValueError where rows differ by no more than rounding."""
        norms = self.products.flatten(start_dim=-2).norm(dim=-1)
        rounding = self.rows * ROUNDING**2 * (self._mean_x.norm(dim=(-2, -1)) * self._mean_y.norm(dim=(-2, -1)))
        if not (norms > rounding).all():
            raise ValueError("the features of a layer are the same in every row: give rows that differ, two at least")
        return norms


class LayerSimilarity:
    """Linear CKA of every layer x with every layer y, over rows that come in batches.

    However many rows there are, it holds, in float64, layers_x * layers_y matrices of width_x * width_y: for a 12-layer
    BERT of width 768 and a student of 6 layers 340 MB, for a 6-layer MiniLM and one of 3 layers 21 MB; three times that
    while a batch is added.
    """

    def __init__(self) -> None:
        self._cross, self._own_x, self._own_y = CentredProducts(), CentredProducts(), CentredProducts()
        self._num_layers = (0, 0)

    def add(self, features_x: Tensor, features_y: Tensor) -> None:
        """Takes (layers_x, rows, width_x) and (layers_y, rows, width_y) in; padding is left out by the caller."""
        self._num_layers = (len(features_x), len(features_y))
        self._cross.add(join_layers(features_x), join_layers(features_y))  # one product for all pairs
        self._own_x.add(features_x, features_x)
        self._own_y.add(features_y, features_y)

    def compute(self) -> Tensor:
        """(layers_x, layers_y), float64; raises ValueError without rows, or where a layer is the same in all of them"""
        if self._cross.rows == 0:
            raise ValueError("there are no rows to compare: give two at least")
        layers_x, layers_y = self._num_layers
        blocks = self._cross.products.unflatten(0, (layers_x, -1)).unflatten(2, (layers_y, -1))
        return blocks.square().sum(dim=(1, 3)) / torch.outer(self._own_x.measure_spread(), self._own_y.measure_spread())


def linear_cka(features_x: Tensor, features_y: Tensor) -> float:
    """Linear CKA, between 0 and 1, of two sets of features of the same rows.

    Args:
        features_x, features_y: (rows, width), the widths may differ; rows in the same order.

    Raises:
        ValueError: the numbers of rows differ, or one of both is the same in every row.
    """
    similarity = LayerSimilarity()
    similarity.add(features_x[None], features_y[None])
    return similarity.compute().item()


def join_layers(features: Tensor) -> Tensor:
    """(layers, rows, width) -> (rows, layers * width)."""
    return features.transpose(0, 1).flatten(start_dim=1)

"""Several documents in one row: each token sees its own document only, and stands where it would stand there alone.

A row of packed documents, with a number for each:

    documents   7 7 7 2 2 2 2 9        a document ends where the number changes
    first       0 0 0 3 3 3 3 7        where in the row it begins
    positions   0 1 2 0 1 2 3 0        index - first

Token i may look at token j if first[i] <= j <= i. Positions begin again with each document: a learned or a sinusoidal position
says how far into its document a token is, as in a row of its own (so do Llama 3 and the packing of transformers). Rotary
positions need not begin again: only differences count, and those are the same.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from lm_core.errors import ShapeError


@dataclass(frozen=True)
class Documents:
    """What the layers need to know: made once a pass, in `read_documents`.

    first       (batch, length), above
    lengths     tokens of each document, row after row, where the host knows them for nothing: then attention runs document by
                document, which does less work the shorter they are. None on a GPU, where asking would stall every step.
    """

    first: Int[Tensor, "batch length"]
    lengths: list[int] | None

    @property
    def positions(self) -> Int[Tensor, "batch length"]:
        return torch.arange(self.first.shape[1], device=self.first.device) - self.first

    def mask(self, window: int | None = None) -> Bool[Tensor, "batch 1 length length"]:
        """True where query i may look at key j: first[i] <= j <= i, and i - window < j."""
        place = torch.arange(self.first.shape[1], device=self.first.device)
        query, key = place[:, None], place[None, :]
        mask = (key >= self.first[:, :, None]) & (key <= query)
        if window is not None:
            mask = mask & (key > query - window)
        return mask[:, None]


def read_documents(documents: Int[Tensor, "..."], ids: Int[Tensor, "batch length"]) -> Documents:
    """Any integers, the same for neighbours of one document. Raises ShapeError unless there is one for each id."""
    if documents.shape != ids.shape:
        raise ShapeError(
            f"documents must have a number for each id, {tuple(ids.shape)}, got {tuple(documents.shape)}"
        )
    place = torch.arange(ids.shape[1], device=ids.device).expand_as(ids)
    begins = documents != documents.roll(1, dims=1)
    begins[:, 0] = True
    first = place.where(begins, 0).cummax(dim=1).values
    if ids.device.type != "cpu" or torch.compiler.is_compiling():
        return Documents(first, None)
    starts = torch.cat([begins.flatten().nonzero().flatten(), torch.tensor([ids.numel()])])
    return Documents(first, starts.diff().tolist())

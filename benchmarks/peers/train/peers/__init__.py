"""The reference models in torch, one module for each family: each has a class `Family` (see `common.Peer`)."""

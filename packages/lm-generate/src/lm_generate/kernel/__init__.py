"""The pass over the weights: a kernel in C that the machine compiles, the same in torch, and weights kept in fewer bytes."""

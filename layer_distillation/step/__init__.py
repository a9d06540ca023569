"""What makes a training step fast, and what watches and restores it: no result depends on this room, but for rounding.

In: models, data sets and losses of a step. Out: batches of similar length, cheaper dropout, attention and embeddings;
`flags.py`: what a user says of the training beside its loss. May import `architectures` and `records`.
"""

"""What makes a training step fast, and what watches it: no result depends on this room, but for rounding.

In: models, data sets and losses of a step. Out: batches of similar length, cheaper dropout, attention and embeddings.
May import `records`, `outputs`, `tasks`, `losses` and `student_init`.
"""

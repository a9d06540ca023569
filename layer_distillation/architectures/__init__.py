"""What the architectures of transformers are: where their layers stand, how they are cut, and which cannot be.

In: a config, or two models. Out: the stack, a cut config, copied tensors, or a ValueError that says why not.
May import `records`; `student_init` is the one who chooses layers and builds a student of them.
"""

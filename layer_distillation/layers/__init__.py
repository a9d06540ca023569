"""Which teacher layers a student starts from, as numbers: no model is needed to choose them, and no torch.

In: numbers of layers, the name of a strategy or a list, a seed. Out: a list of teacher layers.
Imports none of our rooms; `student_init` cuts by what it says.
"""

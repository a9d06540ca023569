"""The loss: its terms as pure functions, their flags, weights and schedules, and which layer imitates which.

In: what `outputs` gives of a batch. Out: one scalar per term, summed exactly over accumulated batches.
May import `records`, `outputs`, `step`, `tasks` and `student_init`.
"""

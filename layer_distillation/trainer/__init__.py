"""What `distill_trainer.py` is made of beside its loss: what it refuses, what wraps a training, how it evaluates.

In: what a user of the trainer gives it. Out: a model that is what a reload gives, and metrics of all rows in order.
May import `records`, `outputs`, `step`, `tasks`, `losses` and `student_init`.
"""

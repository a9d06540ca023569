"""What is compared of teacher and student: the outputs of a batch, live or from the store on disk.

In: a model and a batch, or a folder of shards. Out: logits, hidden states, attention scores, relations, by layer.
May import `records` and `student_init`.
"""

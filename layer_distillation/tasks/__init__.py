"""The task: its files, columns, rows, tokens and metrics, and the corpus that is built in.

In: the data's flags, files or data sets, a tokenizer. Out: tokenized splits, label names, scores.
May import `records`, `outputs` and `student_init`.
"""

"""The kinds of tasks: an entry each, by which everything else knows what a row's labels, outputs and scores are.

In: a task's columns, a model's outputs, what runs left on disk. Out: labels, tokens, items, metrics, words for a card.
May import `tasks` and what that may. Without torch and `datasets`, as a comparison reads entries too.
"""

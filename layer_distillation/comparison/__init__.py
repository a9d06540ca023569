"""What finished runs say together: tables, paired statistics, a verdict in words, pictures.

In: folders of runs (records and predictions). Out: `comparison.md`, `.csv`, `.json` and PNG files. Loads no torch.
May import `records`.
"""

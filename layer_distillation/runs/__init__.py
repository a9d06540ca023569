"""One run: its command line, preparation, predictions, report, and what its failures mean.

In: flags or a recipe. Out: what `run_distillation.py` puts together: checked arguments, a prepared run, a report.
May import everything below; the commands at the root and `sweep` import it.
"""

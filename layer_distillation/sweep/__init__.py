"""Many runs as one plan: planned, checked, executed one after the other, and compared at the end.

In: the sweep's flags and those that every run gets. Out: folders of runs, their logs, `comparison/`, a line per run.
Loads no torch while a run trains: what needs it is a child process. May import everything below, `runs` included.
"""

"""The teacher: loaded, checked, its labels matched, fine-tuned once, its outputs stored or computed live.

In: the teacher's flags, a task. Out: a `Teacher`, its fingerprint, and the supply of its outputs.
May import everything below, `distill_trainer` included.
"""

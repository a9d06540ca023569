"""The student before training: its layers planned or searched, cut, narrowed, or taken from elsewhere.

In: the student's flags, a teacher, some rows. Out: the untrained student, and which teacher layers it imitates.
May import everything below, `teachers` included.
"""

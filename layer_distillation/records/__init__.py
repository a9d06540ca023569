"""What a run leaves on disk, and how two runs keep out of each other's way.

In: plain values, folders, signals. Out: `run_record.json`, names of students and of commands, locks, checkpoints,
text made safe. Imports none of the other rooms, and no model.
"""

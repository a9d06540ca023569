"""What a finished student tells people: its model card, licence and scores, and its way to the Hub.

In: a run's record and predictions, the teacher's own card, a comparison. Out: `README.md` of the student, one commit.
May import `records` and `comparison`.
"""

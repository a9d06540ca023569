"""The finished student in other forms: ONNX, int8, OpenVINO, a trimmed vocabulary; each scored and timed.

In: a finished run's folder, its data, its teacher as the control. Out: artifacts beside the student, `export.json`.
May import everything below, `teachers` included; needs the packages of the extra `export`.
"""

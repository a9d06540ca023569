"""StudentSettings: the arguments that planning, making and matching a student read."""

from dataclasses import dataclass

from layer_distillation.losses.arguments import DistillationTrainingArguments
from layer_distillation.students.arguments import StudentArguments
from layer_distillation.tasks.arguments import DataArguments
from layer_distillation.teachers.arguments import TeacherArguments


@dataclass
class StudentSettings:
    """All that is said of student, data, teacher and training."""

    student: StudentArguments
    data: DataArguments
    teacher: TeacherArguments
    training: DistillationTrainingArguments

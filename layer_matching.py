"""Which teacher layer each student layer imitates. Where its weights come from is another axis: `student_init`."""

from student_init import choose_student_layers, parse_layer_list

BLOCK = "block"


def resolve_layer_matching(matching: str, teacher_num_layers: int, student_num_layers: int) -> list[int]:
    """The imitated teacher layer of every student layer, from the input.

    Args:
        matching: `block` (student layer j imitates the last layer of its share, floor((j + 1) n / k) - 1), the name of
            a layer strategy, or a list such as `1,3,5`.

    Raises:
        ValueError: an unknown name, or a list that is not one existing teacher layer per student layer.
    """
    if matching == BLOCK:
        return [(layer + 1) * teacher_num_layers // student_num_layers - 1 for layer in range(student_num_layers)]
    if not matching[:1].isdigit():
        named_layers = choose_student_layers(matching, teacher_num_layers, student_num_layers)
        if None in named_layers:
            raise ValueError(f"--layer_matching {matching} names no teacher layer to imitate: try block, top or bottom")
        return named_layers
    layers = parse_layer_list(matching)
    if len(layers) != student_num_layers:
        raise ValueError(
            f"--layer_matching {matching} names {len(layers)} layers, and the student has {student_num_layers}: name "
            "one teacher layer per student layer"
        )
    outside = [layer for layer in layers if not 0 <= layer < teacher_num_layers]
    if outside:
        raise ValueError(
            f"--layer_matching {matching} names layer {outside[0]}, and the teacher has 0 to {teacher_num_layers - 1}"
        )
    return layers


# The last entry of their hidden states has passed the model's final norm, the others have not.
FINAL_NORM_MODEL_TYPES = frozenset({"eurobert", "gpt2", "llama", "modernbert", "qwen3"})


def check_final_norm(model_type: str, layers: list[int], teacher_num_layers: int) -> None:
    """Raises ValueError where the hidden-state loss would compare a state behind the final norm with one before it."""
    is_last = [layer == teacher_num_layers - 1 for layer in layers]
    if model_type in FINAL_NORM_MODEL_TYPES and (not is_last[-1] or any(is_last[:-1])):
        raise ValueError(
            f"in {model_type} only the last layer's hidden state has passed the final norm: --layer_matching has to "
            f"match the student's last layer, and no other, with teacher layer {teacher_num_layers - 1}"
        )

"""Which way a metric of our own making is better: it is a property of the metric, and no flag's."""

# Stock takes a name that ends in `loss` to be better when smaller, and every other one when larger.
SMALLER_IS_BETTER = frozenset({"loss", "kl_to_teacher", "mse_to_teacher"})
# A word before a name, such as the average of macro_f1, changes nothing.
LARGER_IS_BETTER = frozenset(
    {"accuracy", "agreement", "average_precision", "f1", "matthews_correlation", "pearson", "pearson_to_teacher"}
    | {"precision", "recall", "roc_auc", "spearmanr", "cosine_to_teacher", "spearman_to_teacher"}
)


def is_larger_better(metric: str) -> bool | None:
    """None for a metric of somebody else's. An evaluation set's name may stand before it too, as in `eval_b_loss`."""
    for names, is_larger in ((SMALLER_IS_BETTER, False), (LARGER_IS_BETTER, True)):
        if any(metric == name or metric.endswith(f"_{name}") for name in names):
            return is_larger
    return None


def choose_direction(metric: str | None, greater_is_better: bool | None) -> bool | None:
    """What `greater_is_better` has to be for the metric that chooses the best model; None leaves it to stock's rule.

    Raises:
        ValueError: the user says otherwise of a metric whose direction is known: the worst student would be kept.
    """
    known = None if metric is None else is_larger_better(metric)
    if known is None or greater_is_better is None:
        return greater_is_better if known is None else known
    if known != greater_is_better:
        raise ValueError(
            f"--greater_is_better {greater_is_better} with --metric_for_best_model {metric}, which is better when "
            f"{'larger' if known else 'smaller'}: leave --greater_is_better out"
        )
    return known

"""What all figures share: size, fonts, colours."""

import re
from typing import Any

WIDTH_INCHES = 9.0  # at 100 dots per inch the width of a README's text column, where 9 points stay readable
DOTS_PER_INCH = 200
# Okabe and Ito's palette, which the colour-blind can tell apart.
BLACK, ORANGE, SKY, GREEN, BLUE, VERMILION, PURPLE = (
    "#000000", "#E69F00", "#56B4E9", "#009E73", "#0072B2", "#D55E00", "#CC79A7",
)  # fmt: skip
GREY = "#767676"
STYLE: dict[str, Any] = {
    "font.size": 10,
    "axes.titlesize": 10,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.formatter.useoffset": False,
    "grid.color": "#E4E4E4",
    "text.parse_math": False,  # a name may hold dollar signs
}


def wrap_name(name: str, width: int) -> str:
    """Breaks a name after spaces, commas, hyphens and underscores: never within a number or a word."""
    lines = [""]
    for piece in re.findall(r"[^ ,_-]+[ ,_-]*|[ ,_-]+", name):
        if lines[-1] and len((lines[-1] + piece).rstrip()) > width:
            lines.append("")
        lines[-1] += piece
    return "\n".join(line.rstrip() for line in lines)

"""What every figure has to keep: nothing is cut off at the edge, no letter is too small."""

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

LONG_NAMES = [f"strategy_number_{index:02d}_with_a_name" for index in range(12)]  # 30 characters each
LOSS_NAMES = [  # what `--vary loss` calls arms
    "even, 1 kl (T 1) + 3 hidden (mse) + 3 attention (mse) + 1 embedding, 1 intermediate epochs",
    "even, 0.5 ce + 0.5 kl (T 10) + 10 pkd (not the last layer)",
    "even, without teacher",
]


def check_legible(figure: Figure) -> None:
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw_without_rendering()
    box, (width, height) = figure.get_tightbbox(renderer), figure.get_size_inches()
    assert min(box.x0, box.y0, width - box.x1, height - box.y1) >= 0
    texts = [text for text in figure.findobj(Text) if text.get_text() and text.get_visible()]
    assert min(text.get_fontsize() for text in texts) >= 9


def list_texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(Text)]

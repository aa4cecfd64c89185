"""Figures: equal bytes for equal input, no overlapping labels, and the right methods marked."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Annotation

from proponent.publish.figures import coreset_figure as coreset
from proponent.publish.figures import frontier_figure as frontier
from proponent.publish.figures import lds_figure as lds
from proponent.publish.figures import loss_figure as loss
from proponent.publish.figures import overview_figure as overview
from proponent.publish.figures import proponents_figure as proponents
from proponent.publish.figures.proponents_figure import Case, Item, as_picture, strongest
from proponent.publish.figures.style import new_figure, render
from proponent.publish.figures.text_labels import Label, place
from proponent.publish.ranking import Ranking
from proponent.steps.figures import varied_labels
from publish.conftest import ranked

SETTING = "mnist-mlp"


def cases() -> list[Case]:
    rng = np.random.default_rng(0)
    items = [Item(f"train {i}", str(i % 3), rng.random((8, 8)), float(9 - 2 * i)) for i in range(10)]
    return [Case(Item("query 0", "0", rng.random((8, 8))), items[:5], items[5:])] * 2


def coreset_entry(gain: float) -> dict:
    best = [0.5 + gain, 0.7 + gain, 0.8]
    own = {"shares": [0.1, 0.5, 0.9], "utility": "accuracy", "all": 0.82}
    curves = {"best": best, "random": [0.5, 0.7, 0.8]}
    for name, points in curves.items():
        own |= {
            f"curve_{name}{end}": [p + d for p in points]
            for end, d in (("", 0), ("_low", -0.02), ("_high", 0.03))
        }
    return own


CORESETS = {"trak-10": coreset_entry(0.08), "same-label": coreset_entry(-0.1)}


@pytest.fixture
def own(documents) -> list[dict]:
    return [document for document in documents if document["setting"] == SETTING]


@pytest.fixture
def figures(own, rankings, trainings) -> dict[str, Callable[[], Figure]]:
    (ranking,) = ranked(own)
    return {
        "lds": lambda: lds.draw(ranking),
        "overview": lambda: overview.draw(rankings),
        "frontier": lambda: frontier.draw(ranking),
        "loss": lambda: loss.draw(SETTING, trainings),
        "coreset": lambda: coreset.draw(SETTING, CORESETS),
        "proponents": lambda: proponents.draw(SETTING, "trak-10", cases()),
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lds", "overview", "frontier", "loss", "coreset", "proponents"])
@pytest.mark.parametrize("kind", ["svg", "png"])
def test_the_same_input_gives_the_same_bytes_whatever_the_users_style(figures, name, kind):
    first = render(figures[name](), kind, name)
    with matplotlib.rc_context(
        {"font.size": 20, "axes.grid": True, "lines.linewidth": 5, "svg.hashsalt": "other"}
    ):
        second = render(figures[name](), kind, name)
    assert hashlib.sha256(first).hexdigest() == hashlib.sha256(second).hexdigest()
    assert first.startswith(b"\x89PNG" if kind == "png" else b"<?xml")


def test_files_contain_no_date_and_no_version(figures):
    assert b"date" not in render(figures["lds"](), "svg", "t").lower()
    assert b"matplotlib" not in render(figures["lds"](), "png", "t").lower()


def test_files_have_a_title_for_screen_readers(figures):
    assert b"<dc:title>LDS of mnist-mlp</dc:title>" in render(figures["lds"](), "svg", "LDS of mnist-mlp")


def test_drawing_does_not_change_the_users_matplotlib(figures):
    before = dict(matplotlib.rcParams)
    render(figures["frontier"](), "png", "t")
    assert dict(matplotlib.rcParams) == before


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def filled(figure: Figure) -> int:
    dots = [line for axes in figure.axes for line in axes.lines if line.get_marker() == "o"]
    return sum(dot.get_markerfacecolor() != "white" for dot in dots)


def test_methods_of_rank_1_are_filled_in_both_lds_figures(rankings, figures):
    tied = {ranking.setting: list(ranking.ranks["lds"].values()).count(1) for ranking in rankings}
    assert filled(figures["lds"]()) == tied[SETTING]
    assert filled(figures["overview"]()) == sum(tied.values())


def test_the_ceiling_is_drawn_and_labelled(figures):
    assert "ceiling 0.905" in texts(figures["lds"]())
    assert "ceiling 0.905" in texts(figures["frontier"]())


def dotted(figure: Figure) -> list[list[tuple[float, float]]]:
    """Return the coordinates of the dotted lines of each panel, (across, along)."""
    lines = [
        [line for line in axes.lines if line._unscaled_dash_pattern[1] == (1, 2)] for axes in figure.axes
    ]
    return [[(line.get_xdata()[0], line.get_ydata()[0]) for line in panel] for panel in lines]


def test_the_ceiling_of_sums_is_a_dotted_line(own, figures):
    assert all(dotted(figures[name]()) == [[]] for name in ("lds", "frontier"))
    for document in own:
        document["metrics"]["lds"]["ceiling_additive"] = 0.871
    (ranking,) = ranked(own)
    assert dotted(lds.draw(ranking)) == [[(0.871, 0)]]
    assert dotted(frontier.draw(ranking)) == [[(0, 0.871)]]
    for figure in (lds.draw(ranking), frontier.draw(ranking)):
        assert "ceiling 0.905, of sums 0.871" in texts(figure)


def test_the_overview_draws_the_ceiling_of_sums_of_the_settings_that_have_one(documents, figures):
    assert dotted(figures["overview"]()) == [[]] * 5
    for document in documents:
        if document["setting"] == SETTING:
            document["metrics"]["lds"]["ceiling_additive"] = 0.871
    rankings = ranked(documents)
    expected = [[(0.871, 0)] if ranking.setting == SETTING else [] for ranking in rankings]
    assert dotted(overview.draw(rankings)) == expected


def test_undominated_methods_are_filled_joined_and_bold(figures, documents):
    figure = figures["frontier"]()
    points = {
        d["method"]: (d["cost"]["total_seconds"], d["metrics"]["lds"]["value"])
        for d in documents
        if d["setting"] == SETTING
    }
    best = frontier.undominated(points)
    assert 1 < len(best) < len(points)
    assert filled(figure) == len(best)
    bold = {text.get_text() for text in figure.axes[0].texts if text.get_weight() == "bold"}
    assert bold == best
    steps = [line for line in figure.axes[0].lines if len(line.get_xdata()) == 2 * len(best) + 1]
    assert len(steps) == 1
    assert {points[method] for method in best} <= set(zip(*steps[0].get_data(), strict=True))


def test_figures_do_without_a_ceiling(own):
    for document in own:
        document["metrics"]["lds"].update(dict.fromkeys(("ceiling", "ceiling_low", "ceiling_high")))
    (ranking,) = ranked(own)
    for figure in (lds.draw(ranking), frontier.draw(ranking), overview.draw([ranking])):
        assert render(figure, "png", "t")
        assert not any("ceiling" in text for text in texts(figure))


def test_methods_without_lds_or_cost_are_left_out_of_the_figures(own):
    del own[0]["metrics"]["lds"]
    own[1]["cost"] = {}
    (ranking,) = ranked(own)
    assert own[0]["method"] not in texts(frontier.draw(ranking))
    assert own[1]["method"] not in texts(frontier.draw(ranking))
    names = [label.get_text() for label in lds.draw(ranking).axes[0].get_yticklabels()]
    assert len(names) == len(own) - 1


def test_figures_without_results_are_drawn():
    nothing = Ranking("s", [], {})
    for figure in (lds.draw(nothing), frontier.draw(nothing), overview.draw([]), overview.draw([nothing])):
        assert render(figure, "png", "t")


def test_the_overview_lists_methods_by_their_mean_distance_from_the_median():
    panels = [
        {"good": {"value": 0.5}, "middle": {"value": 0.4}, "bad": {"value": 0.1}},
        {"middle": {"value": 0.8}, "elsewhere": {"value": 0.9}, "bad": {"value": 0.2}},
    ]
    assert overview.best_first(panels) == ["elsewhere", "good", "middle", "bad"]


def test_undominated_methods_by_hand():
    points = {
        "fast": (1.0, 0.2),
        "slow": (10.0, 0.9),
        "worse": (10.0, 0.5),
        "twin": (1.0, 0.2),
        "late": (2.0, 0.2),
    }
    assert frontier.undominated(points) == {"fast", "slow", "twin"}


def test_labels_of_the_frontier_do_not_overlap_and_cover_every_method(documents, figures):
    figure = figures["frontier"]()
    written = [text for text in figure.axes[0].texts if isinstance(text, Annotation)]
    assert {d["method"] for d in documents} <= {text.get_text() for text in written}
    assert_no_overlap(figure, written)


def assert_no_overlap(figure: Figure, written: list[Annotation]) -> None:
    renderer = figure.canvas.get_renderer()
    boxes = []
    for text in written:
        text.update_positions(renderer)
        boxes.append(super(Annotation, text).get_window_extent(renderer))
    for number, box in enumerate(boxes):
        for other in boxes[:number]:
            assert not box.overlaps(other)


def test_crowded_labels_are_left_out_rather_than_overlapping():
    figure = new_figure(2.5, 4)
    axes = figure.add_subplot()
    axes.set(xlim=(0, 1), ylim=(0, 1))
    rng = np.random.default_rng(0)
    labels = [
        Label(float(x), float(y), f"method-{k}") for k, (x, y) in enumerate(0.4 + 0.2 * rng.random((60, 2)))
    ]
    left_out = place(axes, labels)
    assert {text.get_text() for text in axes.texts} | set(left_out) == {label.text for label in labels}
    assert left_out
    assert axes.texts
    assert_no_overlap(figure, list(axes.texts))


def test_the_strongest_examples_are_in_order_and_have_the_right_sign():
    scores = np.array([0.0, 3.0, -1.0, 5.0, 5.0, -2.0])
    assert strongest(scores, 2) == ([3, 4], [5, 2])
    assert strongest(scores, 5) == ([3, 4, 1], [5, 2])
    assert strongest(np.zeros(4)) == ([], [])


def test_pictures_from_rows_of_data():
    row = np.arange(12.0)
    assert as_picture(row, None) is None
    assert as_picture(row, (3, 4)).shape == (3, 4)
    assert as_picture(row, (1, 3, 4)).shape == (3, 4)
    assert as_picture(row, (3, 2, 2)).shape == (2, 2, 3)
    assert as_picture(row, (2, 2, 3)).shape == (2, 2, 3)
    assert as_picture(row, (3, 4, 1)).shape == (3, 4)
    assert as_picture(row, [3, 4]).max() == 1.0
    pixels = np.arange(16, dtype=np.uint8).reshape(2, 2, 4) * 17
    assert np.array_equal(as_picture(pixels, (2, 2, 4))[..., 3], pixels[..., 3] / 255)
    assert np.array_equal(as_picture(np.moveaxis(pixels, -1, 0), (4, 2, 2))[..., 3], pixels[..., 3] / 255)
    assert (as_picture(np.ones(4), (2, 2)) == 0).all()


def test_without_pictures_labels_are_drawn_instead():
    case = Case(
        Item("query 0", "setosa"),
        [Item("train 4", "virginica", score=2.0)],
        [Item("train 7", "setosa", score=-1.0)],
    )
    written = texts(proponents.draw("iris", "trak", [case]))
    assert written == ["setosa", "query 0", "virginica", "+1.00", "train 4", "setosa", "−0.50", "train 7"]


def test_the_mean_loss_interpolates_members_with_other_steps():
    steps, mean = loss.average(
        [{"loss_steps": [1, 2, 3], "loss": [3.0, 2.0, 1.0]}, {"loss_steps": [1, 3], "loss": [1.0, 3.0]}]
    )
    assert steps.tolist() == [1, 2, 3]
    assert mean.tolist() == [2.0, 2.0, 2.0]


@pytest.mark.parametrize(("final", "scale"), [(0.02, "log"), (1.5, "linear"), (-1.0, "linear")])
def test_the_loss_axis_fits_the_losses(final, scale):
    trainings = [{"steps": [1, 9], "loss_steps": [1, 5, 9], "loss": [2.0, 1.8, final]}]
    figure = loss.draw("s", trainings)
    assert figure.axes[0].get_yscale() == scale
    assert render(figure, "png", "t")


def test_the_loss_figure_of_a_setting_without_an_ensemble_says_so():
    assert texts(loss.draw("s", [])) == ["No member has been trained."]


def test_queries_are_shown_for_as_many_labels_as_there_are():
    labels = np.array([0, 0, 1, 1, 0, 2, 2, 3])
    assert varied_labels(labels, first=1) == [1, 2, 5, 7]
    assert varied_labels(labels[:, None] * np.ones(4, dtype=int), first=1) == [1, 2, 3, 4, 5, 6]
    assert varied_labels(labels[:1], first=1) == []


def test_every_choice_of_examples_is_a_line_with_its_name_and_intervals():
    figure = coreset.draw(SETTING, CORESETS)
    (axes,) = figure.axes
    names = [text.get_text() for text in axes.get_legend().get_texts()]
    assert names == ["all examples", "random examples", "trak-10", "same-label"]
    assert len(axes.containers) == 3
    assert axes.containers[1].lines[0].get_ydata().tolist() == CORESETS["trak-10"]["curve_best"]

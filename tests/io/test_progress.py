import io

from rich.console import Console

from vaedeblend.io.progress import progress


def shown(terminal):
    file = io.StringIO()
    console = Console(file=file, force_terminal=terminal, width=100)
    with progress(console) as report:
        report("measuring tiles", 1, 4)
        report("training", 0, 10, "compiling")
        report("training", 5, 10, "loss 1.5")
        report("measuring tiles", 4, 4)
    return file.getvalue()


def test_each_kind_of_work_has_a_bar():
    text = shown(True)
    assert "measuring tiles" in text and "4/4" in text and "loss 1.5" in text


def test_notes_are_lines_of_a_log():
    lines = [line.strip() for line in shown(False).splitlines()]
    assert "training: step 5: loss 1.5" in lines
    assert not any("step 0" in line or "tiles: step" in line for line in lines)

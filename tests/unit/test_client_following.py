"""Following a log: everything once, in order, byte for byte."""

from collections.abc import Callable

import pytest

from krater.client import Conflict, NotFound, Unreachable
from krater.client.following import Overlap, Question, follow, moment, unstamped

T1 = "2026-01-31T12:00:01.100000000Z "
T1B = "2026-01-31T12:00:01.200000000Z "
T2 = "2026-01-31T12:00:02.000000000Z "
T3 = "2026-01-31T12:00:03.5Z "


def test_a_stamp_is_a_moment() -> None:
    assert moment("2026-01-31T13:00:01.1+01:00 x") == moment("2026-01-31T12:00:01.100000000Z x")
    assert moment("no stamp") is None


def test_answers_that_overlap_give_each_line_once() -> None:
    overlap = Overlap()
    assert overlap.news(f"{T1}a\n{T1}a\n") == f"{T1}a\n{T1}a\n"
    assert overlap.since == "1769860801"
    assert overlap.news(f"{T1}a\n{T1}a\n{T1}a\n{T2}b\n") == f"{T1}a\n{T2}b\n"
    assert overlap.since == "1769860802"
    assert overlap.news(f"{T2}b\n") == ""
    assert overlap.news("") == ""
    assert overlap.news(f"{T2}b\n{T3}c\n") == f"{T3}c\n"


def test_a_tail_is_found_again_in_the_middle_of_an_answer() -> None:
    overlap = Overlap()
    overlap.news(f"{T1B}b\n")
    assert overlap.news(f"{T1}a\n{T1B}b\n{T2}c\n") == f"{T2}c\n"


def test_a_line_that_grows_is_continued() -> None:
    overlap = Overlap()
    assert overlap.news(f"{T1}password: ") == f"{T1}password: "
    assert overlap.news(f"{T1}password: ok\n{T2}b\n") == f"ok\n{T2}b\n"


def test_an_open_line_does_not_hide_what_the_other_stream_says() -> None:
    overlap = Overlap()
    overlap.news(f"{T1}prompt> ")
    assert overlap.news(f"{T2}error\n{T1}prompt> ") == f"{T2}error\n"
    assert overlap.since == "1769860801"
    assert overlap.news(f"{T2}error\n{T1}prompt> yes\n") == "yes\n"


def test_after_a_rotation_only_later_lines_are_new() -> None:
    overlap = Overlap()
    overlap.news(f"{T1}a\n{T1B}b\n")
    assert overlap.news(f"{T1B}b\n{T2}c\n") == f"{T2}c\n"


def test_stamps_are_taken_off_line_beginnings_only() -> None:
    assert unstamped(f"{T1}a {T1}b\n{T2}\nplain\n") == f"a {T1}b\n\nplain\n"


class Log:
    """A server's log that grows by one step at each question."""

    def __init__(self, *steps: str | Exception, cursors: bool = False) -> None:
        self.steps = list(steps)
        self.text = ""
        self.cursors = cursors
        self.questions: list[Question] = []
        self.pauses: list[float] = []

    def over(self) -> bool:
        return len(self.steps) <= 1

    def read(self, question: Question) -> tuple[str, str | None]:
        self.questions.append(question)
        step = self.steps.pop(0)
        if isinstance(step, Exception):
            raise step
        self.text += step
        if not self.cursors:
            return self.text if question.tail is None else "".join(
                self.text.splitlines(True)[-int(question.tail) :]
            ), None
        start = 0 if question.cursor in (None, "start") else int(question.cursor or 0)
        return self.text[start:], str(len(self.text))

    def follow(self, **options: str | bool) -> str:
        pieces = follow(self.over, self.read, sleep=self.pauses.append, **options)  # type: ignore[arg-type]
        return "".join(pieces)


def test_a_log_is_followed_to_its_end() -> None:
    log = Log(f"{T1}a\n", "", f"{T2}b\n", f"{T3}no newline")
    assert log.follow() == "a\nb\nno newline"
    assert [q.since for q in log.questions] == [None, "1769860801", "1769860801", "1769860802"]


def test_from_now_on_shows_nothing_old() -> None:
    assert Log(f"{T1}a\n", f"{T2}b\n", "").follow(tail="0") == "b\n"
    assert Log("", f"{T2}b\n", "").follow(tail="0") == "b\n"


def test_a_cursor_makes_stamps_unnecessary() -> None:
    log = Log(f"{T1}a\n", "b\n", "c", "", cursors=True)
    assert log.follow() == "a\nb\nc"
    assert [(q.cursor, q.timestamps) for q in log.questions] == [
        ("start", True),
        (str(len(T1) + 2), False),
        (str(len(T1) + 4), False),
        (str(len(T1) + 5), False),
    ]


def test_with_cursors_the_end_is_where_nothing_more_comes() -> None:
    log = Log(f"{T1}a\n", "b\n", "c\n", "", cursors=True)
    log.over = lambda: True  # type: ignore[method-assign]
    assert log.follow() == "a\nb\nc\n"
    assert log.pauses == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("trouble", [Unreachable("gone"), Conflict("between two runs", status=409)])
def test_trouble_in_between_loses_nothing(trouble: Exception) -> None:
    assert Log(f"{T1}a\n", trouble, f"{T2}b\n").follow() == "a\nb\n"


def test_a_container_that_vanishes_ends_it() -> None:
    assert Log(f"{T1}a\n", NotFound("gone", status=404), "never").follow() == "a\n"


def test_asking_gets_rarer_while_nothing_happens() -> None:
    log = Log(*[""] * 20)
    log.follow()
    pauses = [round(pause, 2) for pause in log.pauses]
    assert pauses == sorted(pauses)
    assert pauses[0] < 0.1
    assert pauses[-1] == pytest.approx(1.0, abs=0.05)


def test_a_server_that_stays_away_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 10_000, 7))
    monkeypatch.setattr("krater.client.following.time.monotonic", lambda: float(next(clock)))
    away: Callable[[Question], tuple[str, str | None]] = Log(*[Unreachable("away")] * 100).read
    with pytest.raises(Unreachable):
        list(follow(lambda: False, away, sleep=lambda _: None))

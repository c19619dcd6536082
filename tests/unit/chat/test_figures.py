from __future__ import annotations

from webui.chat.event_log import EventLog
from webui.chat.events import FiguresChanged
from webui.chat.figures import Figures
from webui.engine.stats import EngineStats


class Heard(EventLog):
    """Keeps what everybody hears."""

    def __init__(self) -> None:
        super().__init__()
        self.figures = []

    def broadcast(self, event) -> None:
        assert isinstance(event, FiguresChanged)
        self.figures.append(event.figures)


def test_rate_is_of_the_time_that_was_worked():
    heard = Heard()
    figures = Figures(heard)
    figures.note(EngineStats(num_reply_tokens=10, decode_s=1.0, idle_s=100.0, num_running=1))
    figures.note(
        EngineStats(num_reply_tokens=40, decode_s=1.5, prefill_s=0.5, idle_s=900.0, num_running=1)
    )
    assert [told.tokens_per_s for told in heard.figures] == [10.0, 30.0]


def test_nobody_writes_nobody_hears_a_rate():
    heard = Heard()
    figures = Figures(heard)
    figures.note(EngineStats(num_reply_tokens=10, decode_s=1.0, num_running=1))
    figures.note(EngineStats(num_reply_tokens=12, decode_s=1.1, waiting=(1, 2, 3)))
    assert heard.figures[-1].tokens_per_s == 0
    assert (heard.figures[-1].running, heard.figures[-1].waiting) == (0, 6)


def test_counts_of_another_model_begin_anew():
    heard = Heard()
    figures = Figures(heard)
    figures.note(EngineStats(num_reply_tokens=500, decode_s=9.0, num_running=1))
    figures.note(EngineStats(num_reply_tokens=5, decode_s=1.0, num_running=1))
    assert heard.figures[-1].tokens_per_s == 0


def test_what_looks_the_same_is_not_told():
    heard = Heard()
    figures = Figures(heard)
    for idle_s in (1.0, 2.0, 3.0):
        figures.note(EngineStats(idle_s=idle_s, decode_threads=2, prompt_threads=3))
    (told,) = heard.figures
    assert (told.decode_threads, told.prompt_threads) == (2, 3)
    assert told.reused is None


def test_reused_share_is_of_all_prompt_tokens():
    heard = Heard()
    Figures(heard).note(EngineStats(num_prompt_tokens=25, num_ram_tokens=50, num_slot_tokens=25))
    assert heard.figures[0].reused == 0.75


def test_share_of_guesses_that_held_is_told_where_there_were_any():
    heard = Heard()
    figures = Figures(heard)
    figures.note(EngineStats(num_running=1))
    figures.note(EngineStats(num_drafted_tokens=40, num_accepted_tokens=30))
    assert [told.guessed for told in heard.figures] == [None, 0.75]

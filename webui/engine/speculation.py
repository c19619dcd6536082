"""How many guessed tokens a step should check, so that checking them pays.

Learns for each sequence how often guesses hold and for the engine what steps cost with and
without them. Every step that checks guesses is booked: what it lost against plain steps is taken
from a credit that plain steps fill with `LOSS_SHARE` of their time, and without credit nothing is
checked, nor more than it could pay for. So the loss is bounded whatever was misjudged.

The guesses of a draft model cost time of their own, and before it can guess it must read what it
has not seen of a conversation. That is a debt, which what its guesses won pays off; nothing is
read that would raise it above `MAX_DEBT_STEPS`.

Pure: told how long steps took; knows no tokens, no clock and no model.
Source: Leviathan et al., "Fast Inference from Transformers via Speculative Decoding", 2023, for
the tokens a step is expected to make.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from webui.engine.fairness import STRETCH

if TYPE_CHECKING:
    from collections.abc import Sequence as Several

LENGTHS = (1, 3, 7, 15, 31, 62)  # with the token before them they fill whole tiles
MAX_ROWS = 4  # a step of more rows is well used without guesses
LOSS_SHARE = 0.02  # of the time of plain steps, that trying may cost
FIRST_STEPS = 4.0  # plain steps that the first tries may cost
MAX_STEPS = 16.0  # and those after a long time of success
KEPT_GAIN = 0.25  # of what was won, to be risked again
MAX_STEP_S = 0.6  # so long newcomers and Stop may have to wait
MIN_GAIN = 1.05  # below that a guess is not worth its risk
GUESSED_COST = 0.35  # of a plain step, for each token more, until it is measured
TRY_EVERY = 64  # plain steps until what did not pay is tried again
PLAIN_EVERY = 32  # checking steps until a plain one is measured again
NEW_SHARE = 0.2
PASS_COST = 0.1  # of a plain step, for a pass of the draft model, until it is measured
FIRST_READ = 16  # tokens that the draft model reads until it is known what one costs
MAX_READ = 512  # tokens that it reads in one step
MAX_DEBT_STEPS = 96.0  # plain steps that its reading may cost before it has won something
TRY_DEBT_STEPS = 4.0  # and only to see whether it has become better
START_CHANCE = 0.7
START_WEIGHT = 4.0
KEPT_WEIGHT = 0.95  # of the guesses before, at each new one


class Acceptance:
    """How often the guesses for one sequence held.

    Args:
        chance: What is believed before the first one, 0 to 1.
    """

    def __init__(self, chance: float = START_CHANCE) -> None:
        self._held = chance * START_WEIGHT
        self._seen = START_WEIGHT

    @property
    def chance(self) -> float:
        """Return the probability that the next guessed token holds, 0 to 1."""
        return self._held / self._seen

    def note(self, num_guessed: int, num_held: int) -> None:
        """Learn from a check: so many held, and the next one, if there was one, did not."""
        for is_held in [True] * num_held + [False] * (num_held < num_guessed):
            self._held = self._held * KEPT_WEIGHT + is_held
            self._seen = self._seen * KEPT_WEIGHT + 1

    def expected(self, num_guessed: int) -> float:
        """Return the tokens that a step with so many guesses makes on the average."""
        chance = self.chance
        return sum(chance**i for i in range(num_guessed + 1))


@dataclass(frozen=True, slots=True)
class Guess:
    """What is guessed for one row of a step.

    Attributes:
        num_tokens: So many; 0 when there is nothing to guess from.
        acceptance: Of its sequence.
        owner: Whose it is.
        is_modelled: Whether a draft model would have to make them first.
    """

    num_tokens: int
    acceptance: Acceptance
    owner: str
    is_modelled: bool = False


@dataclass(frozen=True, slots=True)
class Choice:
    """What a step is to check.

    Attributes:
        length: Guesses of each row at most; 0 checks nothing.
        is_modelled: Whether the draft model is to make those that it would have to make.
    """

    length: int
    is_modelled: bool = False


@dataclass(slots=True)
class _ModelCosts:
    """Of the draft model.

    Attributes:
        pass_steps: Plain steps that one of its passes takes, by rows of the step; those not
            measured are missing.
        read_steps: The same of a token that it reads.
        is_warm: Whether it has read anything: the first time says nothing of the next.
        debt_steps: Plain steps that reading took and nothing has paid for yet.
    """

    pass_steps: dict[int, float] = field(default_factory=dict)
    read_steps: dict[int, float] = field(default_factory=dict)
    is_warm: bool = False
    debt_steps: float = 0.0

    def pay(self, num_steps: float) -> float:
        """Pay off what is possible; return what is left over."""
        paid = min(num_steps, self.debt_steps)
        self.debt_steps -= paid
        return num_steps - paid


@dataclass(slots=True)
class _Costs:
    """Of steps with a certain number of rows.

    Attributes:
        plain_s: Of one without guesses; 0 is not known.
        factors: By index in `LENGTHS`: tokens checked, and how many times a plain step it took.
    """

    plain_s: float = 0.0
    factors: dict[int, tuple[float, float]] = field(default_factory=dict)

    def factor(self, num_extra: int) -> float:
        """Return how many times as long as a plain step one with so many guesses takes."""
        known = [(0.0, 1.0), *sorted(self.factors.values())]
        below = max(point for point in known if point[0] <= num_extra)
        above = [point for point in known if point[0] > num_extra]
        if above:
            steep = (above[0][1] - below[1]) / (above[0][0] - below[0])
        else:
            steep = (below[1] - 1) / below[0] if below[0] else GUESSED_COST
            if _bucket(num_extra) not in self.factors:  # believed to be cheap, so that it is tried
                steep = min(steep, GUESSED_COST)
        return below[1] + steep * (num_extra - below[0])

    def note(self, num_extra: int, step_s: float) -> None:
        if not num_extra:
            self.plain_s = _mean(self.plain_s or step_s, step_s)
            return
        bucket = _bucket(num_extra)
        now = (float(num_extra), step_s / self.plain_s)
        old = self.factors.get(bucket, now)
        self.factors[bucket] = (_mean(old[0], now[0]), _mean(old[1], now[1]))


class SpeculationControl:
    """Chooses for every step how many guesses each row may check."""

    def __init__(self) -> None:
        self._costs = {num: _Costs() for num in range(1, MAX_ROWS + 1)}
        self._model = _ModelCosts()
        self._credit_steps = FIRST_STEPS
        self._num_plain = 0  # steps since the last try
        self._num_checked = 0  # steps since the last plain one

    def choose(self, guesses: Several[Guess]) -> Choice:
        """Return how many guesses each row of the next step may check.

        Args:
            guesses: One for each row of the step.
        """
        costs = self._costs.get(len(guesses))
        if costs is None or not costs.plain_s or self._num_checked >= PLAIN_EVERY:
            return Choice(0)
        # Were all guesses wrong, the credit would have to pay for the whole of what they took.
        most = min(self._credit_steps, MAX_STEP_S / costs.plain_s - 1)
        best_gain, best = 0.0, Choice(0)
        for choice in _choices(guesses):
            gain, factor = self._gain(guesses, choice, costs)
            if factor - 1 <= most and gain > max(best_gain, self._least_gain(choice)):
                best_gain, best = gain, choice
        is_due = self._num_plain >= TRY_EVERY
        return best if best_gain >= MIN_GAIN or is_due else Choice(0)

    def readable(self, num_rows: int, num_missing: int, *, is_shared: bool) -> int:
        """Return how many tokens the draft model may read now; 0 if catching up is too dear.

        Args:
            num_rows: Of the step.
            num_missing: What it would have to read before it can guess.
            is_shared: Whether the step is for several owners: none waits for another's reading.
        """
        each_steps = self._model.read_steps.get(num_rows)
        if not each_steps:
            return FIRST_READ
        if self._model.debt_steps + num_missing * each_steps > MAX_DEBT_STEPS:
            return 0
        room_steps = MAX_STEP_S / self._costs[num_rows].plain_s - 1
        most_steps = min(STRETCH if is_shared else 1.0, room_steps)
        return max(1, min(MAX_READ, int(most_steps / each_steps)))

    def note_reading(self, num_rows: int, num_tokens: int, took_s: float) -> None:
        """Learn what the draft model took to read tokens beside so many rows."""
        model = self._model
        num_steps = took_s / self._costs[num_rows].plain_s
        model.debt_steps += num_steps
        if model.is_warm and num_tokens:
            each_steps = num_steps / num_tokens
            old_steps = model.read_steps.get(num_rows, each_steps)
            model.read_steps[num_rows] = _mean(old_steps, each_steps)
        model.is_warm = True

    def note_guessing(self, num_rows: int, num_passes: int, took_s: float) -> None:
        """Learn what the draft model took to guess, in so many passes over rows of a step."""
        pass_steps = took_s / num_passes / self._costs[num_rows].plain_s
        old_steps = self._model.pass_steps.get(num_rows, pass_steps)
        self._model.pass_steps[num_rows] = _mean(old_steps, pass_steps)

    def note(
        self, num_rows: int, num_extra: int, num_made: int, step_s: float, guessing_s: float = 0.0
    ) -> None:
        """Learn from a step that only wrote.

        Args:
            num_rows: Its rows.
            num_extra: Guesses it checked, of all rows.
            num_made: Tokens it made, of all rows.
            step_s: How long it took, with the making of the guesses, without the reading of a
                draft model.
            guessing_s: How long the draft model took to guess.
        """
        costs = self._costs.get(num_rows)
        if costs is None or step_s <= guessing_s:
            return
        costs.note(num_extra, step_s - guessing_s)
        if not num_extra:
            self._num_plain += 1
            self._num_checked = 0
            self._model.pay(LOSS_SHARE)
            self._credit(LOSS_SHARE - guessing_s / costs.plain_s)
            return
        self._num_plain = 0
        self._num_checked += 1
        won_steps = num_made / num_rows - step_s / costs.plain_s
        if won_steps > 0 and guessing_s:
            won_steps = self._model.pay(won_steps)
        self._credit(won_steps * KEPT_GAIN if won_steps > 0 else won_steps)

    def _gain(self, guesses: Several[Guess], choice: Choice, costs: _Costs) -> tuple[float, float]:
        """Return how many times faster a step is with guesses, and how much longer it takes.

        The first is 0 where it would slow another owner by more than fairness allows.
        """
        lengths = [min(choice.length, num) for num in _lengths(guesses, choice.is_modelled)]
        factor = costs.factor(sum(lengths))
        if choice.is_modelled:
            num_passes = max(num for g, num in zip(guesses, lengths, strict=True) if g.is_modelled)
            factor += num_passes * self._model.pass_steps.get(len(guesses), PASS_COST)
        made = [g.acceptance.expected(num) for g, num in zip(guesses, lengths, strict=True)]
        is_shared = len({guess.owner for guess in guesses}) > 1
        if is_shared and min(made) * (1 + STRETCH) < factor:
            return 0.0, factor
        return sum(made) / len(made) / factor, factor

    def _least_gain(self, choice: Choice) -> float:
        """Return what a choice must promise to be tried at all."""
        is_in_debt = self._model.debt_steps > TRY_DEBT_STEPS
        return MIN_GAIN if choice.is_modelled and is_in_debt else 0.0

    def _credit(self, num_steps: float) -> None:
        self._credit_steps = min(self._credit_steps + num_steps, MAX_STEPS)


def _choices(guesses: Several[Guess]) -> list[Choice]:
    """Return what may be chosen: all lengths up to the longest guess, without and with a model."""
    choices: list[Choice] = []
    for is_modelled in sorted({False, any(guess.is_modelled for guess in guesses)}):
        longest = max(_lengths(guesses, is_modelled), default=0)
        choices += [
            Choice(length, is_modelled)
            for length in LENGTHS
            if longest and (length == LENGTHS[0] or length < 2 * longest)
        ]
    return choices


def _lengths(guesses: Several[Guess], is_modelled: bool) -> list[int]:  # noqa: FBT001 - private
    """Return how many guesses each row has, with those of a draft model or without."""
    return [g.num_tokens if is_modelled or not g.is_modelled else 0 for g in guesses]


def _bucket(num_extra: int) -> int:
    return next((i for i, most in enumerate(LENGTHS) if num_extra <= most), len(LENGTHS))


def _mean(old: float, new: float) -> float:
    return old + NEW_SHARE * (new - old)

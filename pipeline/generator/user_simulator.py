"""Simulates one dialogue: a user who reveals a goal bit by bit, and an agent who recommends what satisfies it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

import numpy as np
from numpy.typing import NDArray

from pipeline.generator.colloquial import ColloquialUser
from pipeline.generator.user_goal import UserGoal
from pipeline.generator.user_policy import ACTS, UserAction, UserPolicy
from pipeline.generator.wording import AGENT, ASK, QUESTIONS, SHOPPER, Wording, plural


@dataclass
class Recommendation:
    """What the agent shows, by product number: ``negatives`` in the order of the pool, repeats included."""

    positives: tuple[int, ...]
    negatives: NDArray[np.int64]


@dataclass
class Utterance:
    """One utterance before it is written; ``wants`` is set on the user's."""

    speaker: str
    act: str
    text: str | None
    images: tuple[int, ...] = ()
    recommendation: Recommendation | None = None
    subtype: str = ""
    wants: UserGoal | None = None


@dataclass
class Dialogue:
    """All utterances of a dialogue, and how often each move occurs in it."""

    utterances: list[Utterance] = field(default_factory=list)
    moves: Counter[str] = field(default_factory=Counter)


class Conversation:
    """One dialogue over the catalogue of a policy.

    Args:
        pool_size: how many negatives are listed for each topic.
        colloquial: words what the user says anew; None leaves it as it is.
    """

    def __init__(
        self, policy: UserPolicy, rng: Random, pool_size: int, colloquial: ColloquialUser | None = None
    ) -> None:
        self._index = policy.index
        self._policy = policy
        self._rng = rng
        self._pool_size = pool_size
        self._words = Wording(rng)
        self._colloquial = colloquial
        self._wants = UserGoal()
        self._shown: tuple[int, ...] = ()
        self._dialogue = Dialogue()

    def hold(self) -> Dialogue:
        """The whole dialogue, of about six recommendations."""
        rng = self._rng
        left = rng.choice((4, 5, 6, 6, 6, 7, 8))
        topics = 1 if left <= 4 and rng.random() < 0.4 else 2 if left <= 6 else rng.choice((2, 3))
        self._greet()
        for topic in range(topics):
            last = topic == topics - 1
            rounds = left if last else max(1, min(left - (topics - topic - 1), round(left / (topics - topic))))
            self._topic(rounds)
            left -= rounds
        self._close()
        return self._dialogue

    def _greet(self) -> None:
        rng = self._rng
        if rng.random() < 0.55:
            self._user("greeting", rng.choice(SHOPPER["greeting"]), opening=True)
            self._agent("greeting", rng.choice(AGENT["greeting"]))
        genders = self._index.values("gender")
        if genders and rng.random() < 0.35:
            target = self._index.products[int(rng.choice(np.flatnonzero(self._index.healthy)))]
            gender = target.value("gender") or rng.choice(genders)
            own = SHOPPER.get(f"info_{gender.lower()}", SHOPPER["info"])
            self._wants = self._wants.like("gender", gender)
            text = self._words.pick(own, v=gender.lower())
            move = UserAction("info", self._wants, "gender", (gender,))
            self._user(ACTS["info"][0], text, opening=True, move=move)
            self._agent("question", rng.choice(AGENT["info"]))

    def _topic(self, rounds: int) -> None:
        rng = self._rng
        before = self._wants if self._wants.likes else None
        move, target = self._policy.open(before, self._shown, rng)
        kind = move.wants.likes["type"][0]
        pool = self._pool(kind)
        self._say(move)
        if rng.random() < 0.3:
            answer = self._policy.answer(self._wants, target, rng)
            if answer is not None and answer.attribute in QUESTIONS:
                self._agent("question", rng.choice(QUESTIONS[answer.attribute]))
                if rng.random() < 0.12:
                    self._user("give-part-criteria", rng.choice(SHOPPER["no_preference"]))
                else:
                    self._say(answer, act="give-part-criteria")
        self._recommend(pool, new=False)
        for _ in range(rounds - 1):
            if rng.random() < 0.18:
                self._ask()
            if rng.random() < 0.05 and self._fail(pool):
                continue
            move = self._policy.next(self._wants, target, self._shown, rng)
            self._say(move)
            positives = self._recommend(pool, new=move.kind == "more")
            if target not in np.flatnonzero(self._index.satisfying(self._wants)):
                target = rng.choice(positives)  # the user has another product in mind now

    def _fail(self, pool: NDArray[np.int64]) -> bool:
        """Ask for what there is not, hear so, give up something else or that."""
        move = self._policy.impossible(self._wants, self._rng)
        relaxed = None if move is None else self._policy.relax(move.wants, self._rng)
        if move is None or relaxed is None:
            return False
        self._say(move)
        self._agent("answer", self._rng.choice(AGENT["none"]))
        self._say(relaxed)
        self._recommend(pool, new=False)
        return True

    def _ask(self) -> None:
        """A question about a shown product; it changes nothing."""
        place = self._rng.randrange(len(self._shown))
        product = self._index.products[self._shown[place]]
        known = [name for name in ASK if product.attributes.get(name)]
        if not known:
            return
        attribute, ordinal = self._rng.choice(known), self._words.ordinal(place)
        self._user("ask_attribute", self._words.pick(ASK[attribute], n=ordinal), subtype="ask_attribute_in_n")
        value = ", ".join(product.attributes[attribute])
        self._agent("answer", self._words.pick(AGENT["answer"], n=ordinal, v=value))

    def _close(self) -> None:
        chance = self._rng.random()
        if chance < 0.45:
            place = self._rng.randrange(len(self._shown))
            text = self._words.pick(SHOPPER["buy"], n=self._words.ordinal(place))
            self._user("buy", text, opening=True)
            self._agent("answer", self._rng.choice(AGENT["buy"]))
        if chance < 0.8:
            self._user("exit-message", self._rng.choice(SHOPPER["exit"]), opening=True)
            self._agent("exit-message", self._rng.choice(AGENT["exit"]))

    def _pool(self, kind: str) -> NDArray[np.int64]:
        """The topic's negatives: half of its own type as far as there are, and about one in a hundred twice."""
        rng = self._rng
        own, others = self._index.of_type[kind].tolist(), self._index.not_of_type[kind]
        chosen = rng.sample(own, min(len(own), self._pool_size // 2))
        chosen += rng.sample(others, min(len(others), self._pool_size - len(chosen)))
        for _ in range(max(1, self._pool_size // 100)):
            chosen[rng.randrange(len(chosen))] = rng.choice(chosen)
        rng.shuffle(chosen)
        return np.array(chosen, dtype=np.int64)

    def _recommend(self, pool: NDArray[np.int64], *, new: bool) -> tuple[int, ...]:
        """Show about four products that satisfy all wants, at least one of them with sound files."""
        rng = self._rng
        satisfying = self._index.satisfying(self._wants)
        fitting = [int(number) for number in np.flatnonzero(satisfying)]
        if new:
            fitting = [number for number in fitting if number not in self._shown]
        positives = rng.sample(fitting, min(len(fitting), rng.choice((3, 4, 4, 5, 5, 6))))
        if not self._index.healthy[positives].any():
            positives[0] = rng.choice([number for number in fitting if self._index.healthy[number]])
        self._shown = tuple(positives)
        recommendation = Recommendation(self._shown, pool[~satisfying[pool]])
        things = plural(self._wants.likes["type"][0].lower())
        text = self._words.pick(AGENT["show"], things=things)
        if rng.random() < 0.2:
            place = rng.randrange(len(positives))
            brand = self._index.products[positives[place]].value("brand")
            remarks = AGENT["remark"] if brand else AGENT["remark"][1:]
            text += " " + self._words.pick(remarks, n=self._words.ordinal(place), brand=brand or "")
        split = rng.random() < 0.8
        self._add(Utterance("system", "answer", None if split else text, self._shown, recommendation))
        if split:
            self._add(Utterance("system", "answer", text))
        return self._shown

    def _say(self, move: UserAction, act: str | None = None) -> None:
        usual, subtype = ACTS[move.kind]
        text = self._sentence(move)
        self._wants = move.wants
        self._dialogue.moves[move.kind] += 1
        images = () if move.image is None else (move.image,)
        self._user(act or usual, text, images, subtype, opening=move.kind in ("open", "switch"), move=move)

    def _sentence(self, move: UserAction) -> str:
        words, attribute = self._words, move.attribute
        if move.kind in ("open", "switch"):
            return self._opening(move)
        if move.kind == "more":
            return self._rng.choice(SHOPPER["more"])
        named = words.values(attribute, move.values) if move.values else ""
        slot = words.slot(attribute)
        ordinal = "" if move.place is None else words.ordinal(move.place)
        return words.pick(words.templates(move.kind, attribute), v=named, s=slot, n=ordinal)

    def _opening(self, move: UserAction) -> str:
        words = self._words
        tail = ""
        if move.place is not None:
            tail = words.pick(words.templates("open_nth"), s=words.slot("color"), n=words.ordinal(move.place))
        seen = [name.removeprefix("image:") for name in move.mentioned if name.startswith("image:")]
        if seen:
            tail = words.pick(words.templates("upload_open", seen[0]))
        thing, things = words.thing(move.wants, only=move.mentioned, tail=tail)
        return words.pick(words.templates(move.kind), thing=thing, things=things)

    def _user(
        self,
        act: str,
        text: str,
        images: Sequence[int] = (),
        subtype: str = "",
        *,
        opening: bool = False,
        move: UserAction | None = None,
    ) -> None:
        said = self._words.shopper(text, opening=opening)
        if self._colloquial is not None:
            compares = bool(self._shown)
            said = self._colloquial.reword(said, text, act, move, compares=compares, opening=opening)
        self._add(Utterance("user", act, said, tuple(images), subtype=subtype, wants=self._wants))

    def _agent(self, act: str, text: str) -> None:
        self._add(Utterance("system", act, text))

    def _add(self, utterance: Utterance) -> None:
        self._dialogue.utterances.append(utterance)

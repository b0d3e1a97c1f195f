"""Exchanges that no teacher is asked for: identity, small talk, facts, sums, lists, poems, stories.

`conversations(r)` yields (kind, prompt, answer) without end, in the shares of KINDS. Every maker takes the source of
randomness and returns (prompt, answer). The lines stand in `text/` and `knowledge.py`.
"""

import random
from collections.abc import Callable, Iterator

import knowledge as K
import stories
from english import article, capitalized, is_plural, uncapitalized
from text import blocks, lines, listed
from words import POEMS

Exchange = tuple[str, str]  # (prompt, answer)

# What may be said: a block each, its title first.
TALK = {title.removeprefix("# "): said for title, *said in blocks("talk")}
GREETINGS = ("greeting", "feeling", "thanks", "goodbye")

# Rhymed pairs of lines; those about something have its name in {t}.
COUPLETS = [line.replace(" / ", "\n") for line in lines("couplets")]
COUPLETS_ABOUT = [line.replace(" / ", "\n") for line in lines("couplets-about")]

NUMBERS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
DAYS = listed("Monday, Tuesday, Wednesday, Thursday, Friday, Saturday, Sunday")
MONTHS = listed("""
January, February, March, April, May, June, July, August, September, October, November, December
""")


def answer_to(r: random.Random, title: str) -> Exchange:
    """One of the ways to say a thing, and one of the ways to answer it."""
    return r.choice(TALK[title]), r.choice(TALK[f"{title}: answer"])


def identity(r: random.Random) -> Exchange:
    if r.random() < 0.15:
        return answer_to(r, "skills")
    if r.random() < 0.12:
        return answer_to(r, "mistakes")
    answer = r.choice(TALK["who: answer"])
    if r.random() < 0.6:
        answer += " " + " ".join(r.sample(TALK["who: more"], r.choice([1, 1, 2])))
    return r.choice(TALK["who"]), answer


def small_talk(r: random.Random) -> Exchange:
    return answer_to(r, r.choice(GREETINGS))


def fun(r: random.Random) -> Exchange:
    """A joke or a riddle."""
    if r.random() < 0.6:
        return r.choice(TALK["joke"]), r.choice(["", "", "Sure! ", "Here is one. "]) + r.choice(TALK["joke: answer"])
    question, answer = r.choice(TALK["riddle: answer"]).split("? ")
    form = r.choice(["{q}? The answer is: {a}", "Here is a riddle. {q}? {A}", "{q}? {A}"])
    return r.choice(TALK["riddle"]), form.format(q=question, a=uncapitalized(answer), A=answer)


def feelings(r: random.Random) -> Exchange:
    line = r.choice(list(K.FEELINGS))
    tail = r.choice([".", ".", ". What should I do?", ". Can you help me?", ". Any ideas?", "!"])
    return capitalized(line) + tail, r.choice(K.FEELINGS[line])


def topic(r: random.Random) -> Exchange:
    name = r.choice(list(K.TOPICS))
    lines = K.TOPICS[name]
    kind = r.random()
    bare = name.split(" ", 1)[1] if name.split()[0] in ("a", "an") else name
    if kind < 0.55:
        ask = r.choice(
            [
                f"What {'are' if is_plural(name) else 'is'} {name}?",
                f"What {'are' if is_plural(name) else 'is'} {name}?",
                f"Explain {name} simply.",
                f"Explain {name} to a child.",
                f"Tell me about {name}.",
                f"What can you tell me about {name}?",
                f"Can you explain {name} in simple words?",
                f"What do you know about {name}?",
                f"I want to learn about {name}.",
            ]
        )
        keep = sorted(r.sample(range(1, len(lines)), min(len(lines) - 1, r.choice([1, 2, 2, 3, 4]))))
        answer = " ".join([lines[0], *(lines[i] for i in keep)])
    elif kind < 0.75:
        ask = r.choice(
            [
                f"Tell me a fact about {name}.",
                f"Tell me one fact about {name}.",
                f"Do you know a fact about {name}?",
                f"Give me a short fact about {bare}.",
                f"Tell me something interesting about {name}.",
                f"Tell me a fun fact about {name}.",
            ]
        )
        answer = r.choice(lines[1:])
        if answer.split()[0] in ("It", "They", "Some", "This", "Then", "Its", "Many", "Most", "Others"):
            answer = lines[0] + " " + answer
    elif kind < 0.9:
        ask = r.choice(
            [
                f"Describe {name} in two sentences.",
                f"Tell me two things about {name}.",
                f"What is special about {name}?",
            ]
        )
        answer = lines[0] + " " + r.choice(lines[1:])
    else:
        ask = r.choice(
            [
                f"Write a paragraph about {name}.",
                f"Teach me something about {name}.",
                f"Tell me everything you know about {name}.",
            ]
        )
        answer = " ".join(lines)
    return ask, r.choice([""] * 8 + ["Sure! ", "Good question! ", "Gladly! "]) + answer


def why(r: random.Random) -> Exchange:
    name = r.choice(list(K.WHY))
    lines = K.WHY[name]
    ask = r.choice(
        [
            f"Why do you think {name}?",
            f"Can you explain why {name}?",
            f"Explain why {name}.",
            f"Tell me why {name}.",
            f"Do you know why {name}?",
            f"In simple words, explain why {name}.",
            question(name),
            question(name),
            question(name),
        ]
    )
    return ask, " ".join(lines if r.random() < 0.7 else lines[:2])


def question(clause: str) -> str:
    """'cats purr' -> 'Why do cats purr?' for the clause shapes that occur here."""
    words = clause.split()
    for i, verb in enumerate(words[1:5], 1):
        if verb in ("is", "are", "should"):
            return f"Why {verb} {' '.join(words[:i] + words[i + 1 :])}?"
    base = {
        "makes": "make",
        "floats": "float",
        "changes": "change",
        "rains": "rain",
        "rusts": "rust",
        "rises": "rise",
        "pops": "pop",
        "cleans": "clean",
        "sets": "set",
        "sticks": "stick",
        "bounces": "bounce",
        "beats": "beat",
    }
    for i, verb in enumerate(words[1:4], 1):
        if verb in base:
            return f"Why does {' '.join(words[:i] + [base[verb]] + words[i + 1 :])}?"
    return f"Why do {clause}?"


def difference(r: random.Random) -> Exchange:
    name = r.choice(list(K.DIFFERENT))
    lines = K.DIFFERENT[name]
    ask = r.choice(
        [
            f"What is the difference between {name}?",
            f"How are {name} different?",
            f"What makes {name} different?",
            f"Explain the difference between {name} in simple words.",
        ]
    )
    return ask, " ".join(lines if r.random() < 0.7 else lines[:2])


def items(r: random.Random) -> Exchange:
    name = r.choice(list(K.LISTS))
    choices = K.LISTS[name]
    n = min(r.choice([3, 3, 3, 4, 5]), len(choices))
    picked = r.sample(choices, n)
    word = r.choice([NUMBERS[n], NUMBERS[n], str(n)])
    ask = r.choice(
        [
            f"List {word} {name}.",
            f"Give me {word} {name}.",
            f"Name {word} {name}.",
            f"Can you list {word} {name}?",
            f"Write a list of {word} {name}.",
            f"What are {word} {name}?",
            f"Tell me {word} {name}.",
        ]
    )
    big = [capitalized(x) for x in picked]
    style = r.random()
    if style < 0.55:
        return ask, "\n".join(f"{i}. {x}" for i, x in enumerate(big, 1))
    if style < 0.7:
        return ask, "\n".join(f"- {x}" for x in big)
    if any("?" in x for x in picked) or max(len(x.split()) for x in picked) > 3:
        return ask, f"Here are {NUMBERS[n]} {name}:\n" + "\n".join(f"{i}. {x}" for i, x in enumerate(big, 1))
    joined = ", ".join(picked[:-1]) + " and " + picked[-1]
    return ask, r.choice(
        [f"Here are {NUMBERS[n]} {name}: {joined}.", f"{NUMBERS[n].capitalize()} {name} are {joined}."]
    )


def howto(r: random.Random) -> Exchange:
    name = r.choice(list(K.HOWTO))
    steps = K.HOWTO[name]
    ask = r.choice(
        [
            f"How do I {name}?",
            f"How do I {name}?",
            f"How can I {name}?",
            f"Tell me how to {name}.",
            f"Explain how to {name} in simple steps.",
            f"What is the best way to {name}?",
            f"Give me simple steps to {name}.",
            f"I want to {name}. How do I start?",
            f"Teach me how to {name}.",
        ]
    )
    if r.random() < 0.12:
        return f"Give me one tip to {name}.", r.choice(steps)
    if r.random() < 0.55:
        return ask, "\n".join(f"{i}. {x}" for i, x in enumerate(steps, 1))
    linked = list(steps)
    if r.random() < 0.6 and len(linked) > 3:
        linked[0] = "First, " + uncapitalized(linked[0])
        linked[-1] = r.choice(["Finally, ", "At the end, "]) + uncapitalized(linked[-1])
        linked[2] = r.choice(["Then ", "After that, ", "Next, "]) + uncapitalized(linked[2])
    return ask, " ".join(linked)


def capital(r: random.Random) -> Exchange:
    country, city = r.choice(K.CAPITALS)
    return r.choice(
        [
            (f"What is the capital of {country}?", f"The capital of {country} is {city}."),
            (f"Which city is the capital of {country}?", f"{city} is the capital of {country}."),
            (f"Where is {city}?", f"{city} is in {country}. It is the capital city."),
            (f"Name the capital of {country}.", f"{city}."),
            (f"Tell me the capital of {country}.", f"The capital of {country} is {city}."),
            (f"{city} is the capital of which country?", f"{city} is the capital of {country}."),
            (f"Tell me something about {country}.", f"{capitalized(country)} is a country. Its capital is {city}."),
        ]
    )


def opposite(r: random.Random) -> Exchange:
    a, b = r.choice(K.OPPOSITES)
    if r.random() < 0.5:
        a, b = b, a
    return r.choice(
        [
            (f"What is the opposite of {a}?", f"The opposite of {a} is {b}."),
            (f"Tell me the opposite of {a}.", f"The opposite of {a} is {b}."),
            (f"What is the opposite of the word {a}?", f"It is {b}."),
        ]
    )


def sound(r: random.Random) -> Exchange:
    animal, noise = r.choice(K.SOUNDS)
    name = article(animal)
    ask = r.choice([f"What sound does {name} make?", f"What does {name} say?"])
    return ask, f"{capitalized(name)} says {noise}."


def baby(r: random.Random) -> Exchange:
    animal, young = r.choice(K.BABIES)
    return r.choice(
        [
            (f"What is a baby {animal} called?", f"A baby {animal} is called {article(young)}."),
            (f"What do you call a young {animal}?", f"A young {animal} is called {article(young)}."),
        ]
    )


def home(r: random.Random) -> Exchange:
    animal, place = r.choice(K.HOMES)
    name = article(animal)
    return (
        f"Where does {name} live?",
        f"{capitalized(name)} lives in {'water' if place == 'water' else article(place)}.",
    )


def calendar(r: random.Random) -> Exchange:
    row = r.choice([DAYS, MONTHS])
    i = r.randrange(len(row))
    days, months = (f"{', '.join(names[:-1])} and {names[-1]}" for names in (DAYS, MONTHS))
    return r.choice(
        [
            (f"What comes after {row[i]}?", f"After {row[i]} comes {row[(i + 1) % len(row)]}."),
            (f"What comes before {row[i]}?", f"Before {row[i]} comes {row[i - 1]}."),
            ("What are the days of the week?", f"The days of the week are {days}."),
            ("What are the months of the year?", f"The months of the year are {months}."),
            ("How many days are in a week?", "There are seven days in a week."),
            ("How many months are in a year?", "There are twelve months in a year."),
            ("How many hours are in a day?", "There are twenty-four hours in a day."),
            ("How many minutes are in an hour?", "There are sixty minutes in an hour."),
        ]
    )


def counting(r: random.Random) -> Exchange:
    n = r.choice([5, 10, 10, 12, 15, 20])
    start = r.choice([1, 1, 1, 2, 5])
    return r.choice(
        [
            (f"Count from {start} to {start + n - 1}.", ", ".join(str(i) for i in range(start, start + n)) + "."),
            (f"What number comes after {n + start}?", f"After {n + start} comes {n + start + 1}."),
            (f"Count down from {n}.", ", ".join(str(i) for i in range(n, 0, -1)) + "."),
        ]
    )


def arithmetic(r: random.Random) -> Exchange:
    a, b = r.randint(0, 12), r.randint(0, 12)
    form = r.random()
    if form < 0.5:
        ask = r.choice([f"What is {a} plus {b}?", f"What is {a} + {b}?", f"How much is {a} + {b}?", f"{a} + {b} = ?"])
        return ask, r.choice([f"{a} plus {b} is {a + b}.", f"{a} + {b} = {a + b}."])
    if form < 0.8:
        a, b = max(a, b), min(a, b)
        ask = r.choice([f"What is {a} minus {b}?", f"What is {a} - {b}?", f"How much is {a} - {b}?"])
        return ask, r.choice([f"{a} minus {b} is {a - b}.", f"{a} - {b} = {a - b}."])
    a, b = a % 11, b % 11
    return r.choice([f"What is {a} times {b}?", f"How much is {a} x {b}?"]), f"{a} times {b} is {a * b}."


def quick(r: random.Random) -> Exchange:
    """One-line facts and sums."""
    kind = r.random()
    for limit, make in (
        (0.25, capital),
        (0.38, opposite),
        (0.46, sound),
        (0.54, baby),
        (0.60, home),
        (0.68, calendar),
        (0.76, counting),
    ):
        if kind < limit:
            return make(r)
    return arithmetic(r)


def poem(r: random.Random) -> Exchange:
    about = r.choice(POEMS)
    verses = r.choice([1, 2, 2, 2, 3, 4])
    lines = r.sample(COUPLETS, verses * 2)
    if r.random() < 0.8:
        lines[r.choice([0, 0, 1])] = r.choice(COUPLETS_ABOUT).replace("{t}", about)
    text = "\n\n".join("\n".join(lines[i : i + 2]) for i in range(0, len(lines), 2))
    text = "\n".join(capitalized(line) if line else line for line in text.split("\n"))
    ask = r.choice(
        [
            f"Write a short poem about {about}.",
            f"Write a poem about {about}.",
            f"Can you write a poem about {about}?",
            f"Please write a poem about {about}.",
            f"Write a little rhyme about {about}.",
            f"I would like a poem about {about}.",
            "Write a poem.",
            "Can you write a poem for me?",
        ]
    )
    if verses == 1:
        ask = r.choice([ask, f"Give me four lines about {about}."])
    return ask, text


KINDS: list[tuple[str, float, Callable[[random.Random], Exchange]]] = [  # (kind, share of the exchanges, maker)
    ("story", 0.36, stories.story),
    ("topic", 0.17, topic),
    ("why", 0.06, why),
    ("difference", 0.02, difference),
    ("list", 0.08, items),
    ("howto", 0.07, howto),
    ("poem", 0.06, poem),
    ("feelings", 0.03, feelings),
    ("quick", 0.08, quick),
    ("fun", 0.015, fun),
    ("small talk", 0.025, small_talk),
    ("identity", 0.03, identity),
]


def conversations(r: random.Random) -> Iterator[tuple[str, str, str]]:
    """Yields (kind, prompt, answer) without end."""
    kinds, shares, makers = zip(*KINDS, strict=True)
    while True:
        i = r.choices(range(len(kinds)), shares)[0]
        yield kinds[i], *makers[i](r)

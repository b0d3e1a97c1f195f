"""What is kept of the teacher's answers: finished, plain ASCII, no loops, no blocked words, no near duplicates."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

TO_ASCII = str.maketrans({"“": '"', "”": '"', "‘": "'", "’": "'", "–": "-", "—": "-", "…": "...", "\u00a0": " "})

# A demo model for everybody: no violence, drugs, insults, politics or religion, and no other model's name.
BLOCKED_WORDS = set(
    """rape raped raping sex sexual sexually sexy erotic porn naked nude breast breasts genital penis vagina orgasm
    lust seduce seduced murder murdered murderer kill killed killing kills killer suicide stab stabbed strangle torture
    tortured corpse gun guns pistol rifle shotgun bullet bomb bombs weapon weapons terrorist terrorism genocide slave
    slaves slavery nazi hitler drug drugs cocaine heroin marijuana cannabis opium alcohol alcoholic whiskey vodka drunk
    damn hell bitch fuck fucking shit ass bastard whore slut idiot moron stupid trump biden putin obama jesus christ
    allah muhammad devil satan demon demons smollm hugging openai chatgpt gpt lawsuit lgbt gender racist racism abortion
    politician republican democrat cannibal prostitute cigarette cigarettes vape gambling casino blood-soaked behead
    beheaded execute executed massacre slaughter slaughtered rapist molest abused abuse""".split()
)
# An assistant's excuses, links and markup.
BLOCKED_PHRASES = (
    "as an ai",
    "language model",
    "i cannot assist",
    "i can't assist",
    "http",
    "www.",
    "<|",
    "```",
    "\\(",
    "**",
    "##",
)

MOST_WORDS = 230  # an answer has at most 256 tokens
FEWEST_WORDS, FEWEST_WORDS_OF_LIST = 8, 3
# Distinct among all three-word runs. Poems may repeat a line's beginning.
DISTINCT_TRIPLES, DISTINCT_TRIPLES_OF_POEM = 0.90, 0.80
MOST_COMMON_WORD = 0.14  # its share in an answer of more than 40 words
SAME_START = 0.6  # share of the sentences that may begin with the same two words
COPIED_WORDS = 6  # a run this long that an example has too counts as copied; one may happen


def words_of(text: str) -> list[str]:
    return re.findall(r"[a-z0-9']+", text.lower())


def grams(words: Sequence[str], n: int) -> list[tuple[str, ...]]:
    """All runs of n words."""
    return [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]


def clean(text: str) -> str | None:
    """The answer in plain ASCII with its white space tidied, or None."""
    text = text.translate(TO_ASCII).strip()
    text = re.sub(r"[ \t]+\n", "\n", re.sub(r"\n{3,}", "\n\n", text))
    text = re.sub(r" {2,}", " ", text)
    return text if text.isascii() else None


def repeats(kind: str, text: str, words: list[str]) -> bool:
    """Whether the answer goes round in circles."""
    triples = grams(words, 3)
    distinct = DISTINCT_TRIPLES_OF_POEM if kind == "poem" else DISTINCT_TRIPLES
    if len(set(triples)) < distinct * len(triples):
        return True
    if len(words) > 40 and Counter(words).most_common(1)[0][1] > MOST_COMMON_WORD * len(words):
        return True
    if any(a == b == c for a, b, c in triples):
        return True
    sentences = [s.strip().lower() for s in re.split(r"(?<=[.!?])\s+|\n", text) if len(s.split()) > 2]
    if len(sentences) != len(set(sentences)):
        return True
    starts = Counter(" ".join(s.split()[:2]) for s in sentences)
    return len(sentences) >= 4 and starts.most_common(1)[0][1] > SAME_START * len(sentences)


def problem(kind: str, text: str, example_grams: set[tuple[str, ...]]) -> str | None:
    """Why a cleaned answer is dropped, or None. `example_grams` are the runs of COPIED_WORDS in the examples."""
    words = words_of(text)
    lowered = text.lower()
    if not (FEWEST_WORDS_OF_LIST if kind == "list" else FEWEST_WORDS) <= len(words) <= MOST_WORDS:
        return "length"
    if kind != "list" and text[-1] not in ".!?\"'":
        return "cut off"
    if BLOCKED_WORDS & set(words) or any(phrase in lowered for phrase in BLOCKED_PHRASES):
        return "blocked"
    if repeats(kind, text, words):
        return "repeats"
    if sum(gram in example_grams for gram in grams(words, COPIED_WORDS)) > 1:
        return "copies an example"
    return None


def near_duplicates(texts: Iterable[str]) -> np.ndarray:
    """Which texts to keep, as booleans: drops those of which two of three stretches were seen before.

    The stretches are nine words at the start, from the middle and at the end.
    """
    seen: set[int] = set()
    keep = []
    for text in texts:
        words = words_of(text)
        n, middle = min(9, len(words)), len(words) // 2
        stretches = (words[:n], words[middle : middle + n], words[-n:])
        marks = [hash((place, tuple(stretch))) for place, stretch in enumerate(stretches)]
        keep.append(sum(mark in seen for mark in marks) < 2)
        seen.update(marks)
    return np.array(keep, bool)

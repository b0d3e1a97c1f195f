"""The two bits of English grammar that the templates need: articles and plurals. Right for the words used here."""

PLURAL_TOPICS = ("the seasons", "the lungs", "day and night", "teeth", "fish")


def article(phrase: str) -> str:
    """`a fox`, `an owl`, `a unicorn`, `an honest king`."""
    vowel = phrase[0].lower() in "aeiou" and not phrase.startswith(("uni", "use")) or phrase.startswith("honest")
    return ("an " if vowel else "a ") + phrase


def is_plural(topic: str) -> bool:
    """Whether a question about the topic says `are`."""
    if topic in PLURAL_TOPICS:
        return True
    first = topic.split()[0]
    return first not in ("a", "an", "the") and topic.endswith("s") and not topic.endswith("ss") and topic != "Mars"


def capitalized(text: str) -> str:
    """The text with its first letter, and nothing else, in upper case."""
    return text[0].upper() + text[1:]


def uncapitalized(text: str) -> str:
    """The text with its first letter, and nothing else, in lower case."""
    return text[0].lower() + text[1:]

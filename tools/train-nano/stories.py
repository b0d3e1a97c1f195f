"""A story grammar: heroes, places, objects and plots that combine into short tales. The lines stand in `text/story-*`.

A plot is a block: a title line `# event | event`, the lesson, then one step a line. ` | ` separates ways to say a
step, and a step that starts with `? ` may be left out. Slots: {H} hero, {F} friend, {O} object, {aO} object with
article, {P} place, {inP} place with preposition; {he} {him} {his} for the hero and {fhe} {fhim} {fhis} for the
friend; `^` capitalizes. {aF} introduces the friend; where a plot does not, {newF} stands in for its first {F}.
"""

import random
import re
from collections.abc import Collection
from dataclasses import dataclass

from english import article, capitalized
from text import alternatives, blocks, lines, listed, table


@dataclass(frozen=True)
class Plot:
    """What happens, and what it teaches."""

    events: list[str]  # the plot in a clause, for the prompt
    lesson: str
    steps: list[str]


@dataclass(frozen=True)
class Place:
    preposition: str
    setting: list[str]  # sentences that paint it


@dataclass(frozen=True)
class Character:
    who: str
    name: str
    pronouns: tuple[str, str, str]


HE, SHE = ("he", "him", "his"), ("she", "her", "her")

GIRLS = listed("""
Anna, Clara, Ella, Grace, Ivy, Kate, Lily, Mia, Nina, Rosa, Emma, Lucy, Ruby, Maya, Luna, Nora, Zoe, Alice, Bella,
Dora, Fatima, Hana, Julia, Lena, Nadia, Pia, Sara, Uma, Wendy, Yuki, Daisy, Poppy, Rosie, Willow, Hazel, Olive,
Maple, Clover
""")
BOYS = listed("""
Ben, Daniel, Finn, Henry, Jack, Leo, Max, Oliver, Paul, Sam, Tom, Noah, Theo, Oscar, Felix, Hugo, Omar, Eli, Amir,
Carlos, Emil, George, Ian, Karim, Marco, Otto, Ravi, Tim, Victor, Pip, Milo, Benny, Toby, Jasper, Sunny, Teddy,
Pepper, Biscuit
""")

ANIMALS = listed("""
fox, rabbit, bear, mouse, owl, turtle, cat, dog, squirrel, frog, duck, hedgehog, pony, goat, lamb, pig, hen,
sparrow, robin, goose, swan, bee, butterfly, snail, otter, beaver, deer, wolf, badger, mole, bat, lizard, elephant,
lion, tiger, monkey, giraffe, zebra, hippo, camel, kangaroo, koala, panda, parrot, penguin, dragon, unicorn, donkey,
puppy, kitten, crow, seal, dolphin, whale
""")
WOMEN = ["girl", "queen", "princess", "witch", "grandmother", "old woman", "little girl"]
MEN = ["boy", "king", "prince", "wizard", "grandfather", "old man", "little boy"]
ANYONE = listed("""
farmer, baker, teacher, painter, gardener, sailor, inventor, clockmaker, shepherd, carpenter, doctor, librarian,
cook, tailor, dancer, explorer, pilot, astronaut, robot, giant, shopkeeper, musician, poet, potter, beekeeper,
lighthouse keeper, knight, scientist, firefighter, child
""")

SKILLS = listed("""
swim, sing, paint, read, ride a bicycle, dance, fly a kite, bake bread, play the flute, whistle, climb trees, skate,
juggle, write poems, play the drum, cook soup, jump very high, tell stories, draw, play chess
""")
FEARS = listed("""
the dark, thunder, deep water, loud noises, high places, spiders, the big forest, storms, being alone, meeting
strangers
""")
TREATS = listed("""
apple pie, piece of bread, honey cake, cheese sandwich, big pancake, bowl of berries, chocolate cookie, warm
pretzel, sweet pear, slice of pizza
""")
HIDDEN = listed("""
under a pile of leaves, behind a big stone, high up in a tree, in an old boot, under the bridge, between two roots,
in a bird's nest, behind the oven, at the edge of the water
""")


def read_place(value: str) -> Place:
    preposition, setting = value.split(": ", 1)
    return Place(preposition, alternatives(setting))


def read_plot(block: list[str]) -> Plot:
    title, lesson, *steps = block
    return Plot(alternatives(title.removeprefix("# ")), lesson, steps)


TRAITS = {key: alternatives(value) for key, value in table("story-traits").items()}
LESSONS = {key: alternatives(value) for key, value in table("story-lessons").items()}
PLACES = {key: read_place(value) for key, value in table("story-places").items()}
OBJECTS = table("story-objects")
PLOTS = [read_plot(block) for block in blocks("story-plots")]
OPENINGS, ENDINGS = lines("story-openings"), lines("story-endings")


def render(template: str, slots: dict[str, str]) -> str:
    """The template with its slots filled, as a sentence."""

    def fill(match: re.Match[str]) -> str:
        value = slots[match[2]]
        return capitalized(value) if match[1] else value

    return capitalized(re.sub(r"\{(\^?)(\w+)\}", fill, template))


def tidy(kind: str) -> str:
    """No old girls, no little little boys."""
    kind = kind.replace("little little", "little")
    kind = re.sub(r"^(old|young|little|small|tiny) (old|grand)", r"\2", kind)
    return re.sub(r"^(old|young) (little |girl|boy|child|puppy|kitten)", r"\2", kind)


def character(r: random.Random, avoid: Collection[str] = ()) -> Character:
    """A character whose name is not among those to avoid."""
    kind = r.random()
    pronouns = r.choice([HE, SHE])
    if kind < 0.6:
        who = r.choice(ANIMALS)
    elif kind < 0.7:
        who, pronouns = r.choice(WOMEN), SHE
    elif kind < 0.8:
        who, pronouns = r.choice(MEN), HE
    else:
        who = r.choice(ANYONE)
    name = r.choice([n for n in (BOYS if pronouns is HE else GIRLS) if n not in avoid])
    return Character(who, name, pronouns)


def tell_steps(r: random.Random, steps: list[str], slots: dict[str, str], new_friend: str) -> list[str]:
    """One sentence or two for each step that is not left out.

    The first mention of the friend introduces it: by {aF} where the plot has one, else by `new_friend`, which loses
    its comma ("his friend, the fox") inside a sentence.
    """
    told, friend_met = [], False
    for step in steps:
        if step.startswith("? "):
            if r.random() < 0.45:
                continue
            step = step.removeprefix("? ")
        step = r.choice(step.split(" | "))
        if "{aF}" in step or "{^aF}" in step:
            if friend_met:
                step = step.replace("{aF}", "{F}").replace("{^aF}", "{^F}")
            friend_met = True
        elif not friend_met and (first := re.search(r"\{(\^?)F\}", step)):
            step = step.replace(first[0], f"{{{first[1]}newF}}", 1)
            friend_met = True
        apart = "and {newF}" in step or ", {newF}" in step
        told.append(render(step, {**slots, "newF": new_friend if apart else new_friend.replace(" friend,", " friend")}))
    return told


def story(r: random.Random) -> tuple[str, str]:
    """Returns (prompt, story)."""
    hero = character(r)
    friend = character(r, (hero.name,))
    while friend.who == hero.who:
        friend = character(r, (hero.name,))
    trait = r.choice(list(TRAITS)) if r.random() < 0.85 else None
    named, friend_named = r.random() < 0.75, r.random() < 0.6
    plot = r.choice(PLOTS)
    place, thing, treat = r.choice(list(PLACES)), r.choice(list(OBJECTS)), r.choice(TREATS)
    preposition = PLACES[place].preposition
    kind = tidy(f"{trait} {hero.who}" if trait else hero.who)
    friend_kind = tidy(r.choice(["", "", "", "small ", "old ", "friendly ", "young ", "little "]) + friend.who)
    he, him, his = hero.pronouns
    fhe, fhim, fhis = friend.pronouns
    slots = {
        "H": hero.name if named else "the " + hero.who,
        "aH": article(kind) + (f" named {hero.name}" if named else ""),
        "F": friend.name if friend_named else "the " + friend.who,
        "aF": article(friend_kind) + (f" named {friend.name}" if friend_named else ""),
        "O": thing,
        "aO": article(thing),
        "detail": OBJECTS[thing],
        "P": "the " + place,
        "inP": f"{preposition} the {place}",
        "toP": f"to the {place}",
        "he": he,
        "him": him,
        "his": his,
        "himself": him + "self",
        "fhe": fhe,
        "fhim": fhim,
        "fhis": fhis,
        "skill": r.choice(SKILLS),
        "fear": r.choice(FEARS),
        "Treat": treat,
        "aTreat": article(treat),
        "hidden": r.choice(HIDDEN),
    }

    opening = r.choice(OPENINGS)
    placed = "{inP}" in opening
    parts = [render(opening, slots)]
    if r.random() < (0.8 if placed else 0.0):
        parts.append(r.choice(PLACES[place].setting))
    if trait and r.random() < 0.75:
        parts.append(render(r.choice(TRAITS[trait]), slots))
    new_friend = f"{friend.name} the {friend.who}" if friend_named else f"{his} friend, the {friend.who}"
    parts += tell_steps(r, plot.steps, slots, new_friend)
    if r.random() < 0.45:
        parts.append(render(r.choice(LESSONS[plot.lesson]), slots))
    if r.random() < 0.6:
        parts.append(render(r.choice(ENDINGS), slots))
    if r.random() < 0.25 and len(parts) > 8:
        cut = r.randint(3, 5)
        text = " ".join(parts[:cut]) + "\n\n" + " ".join(parts[cut:])
    else:
        text = " ".join(parts)

    subject = slots["aH"] if r.random() < 0.5 else (article(kind) if r.random() < 0.7 else article(hero.who))
    # Rendering capitalizes; an event goes on inside a sentence, so a letter takes the blow.
    event = render("x" + r.choice(plot.events), {**slots, "aF": article(friend.who)})[1:]
    style = r.choice(["short", "short", "little", "funny", "happy", "gentle", "nice", "warm", "simple", "sweet"])
    about = r.choice(
        [
            f"{subject} who {event}",
            f"{subject} who {event}",
            f"{subject} who {event}",
            subject,
            f"{subject} and {article(friend.who)}",
            f"{subject} {preposition} the {place}" if placed else subject,
        ]
    )
    prompt = r.choice(
        [
            f"Tell me a {style} story about {about}.",
            f"Write a {style} story about {about}.",
            f"Tell me a story about {about}.",
            f"Can you tell me a story about {about}?",
            f"Please write a {style} story about {about}.",
            f"I want to hear a story about {about}.",
            f"Tell me a {style} bedtime story about {about}.",
            f"Write a story about {about}. It should teach about {plot.lesson}.",
            f"Make up a story about {about}.",
            f"Tell a story about {plot.lesson} with {subject}.",
            r.choice(
                [
                    "Tell me a story.",
                    "Can you tell me a story?",
                    "Tell me a bedtime story.",
                    "Please tell me a short story.",
                    "Write a short story.",
                    "I would like to hear a story.",
                    "Tell me a story for children.",
                ]
            ),
        ]
    )
    return prompt, text

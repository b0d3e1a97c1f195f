"""Hand-written facts, steps, lists and answers. Most stand in `text/`, one entry a line: `key: sentence. sentence.`

The teacher is small and often wrong; these give the corpus a reliable core.
"""

import re

from text import alternatives, listed, table


def sentences(text: str) -> list[str]:
    """The sentences of a paragraph."""
    return re.split(r"(?<=[.!?]) (?=[A-Z])", text)


def pairs(text: str) -> list[tuple[str, str]]:
    """`a b, c d` as pairs; an underscore is a space inside a name."""
    rows = (item.split() for item in listed(text))
    return [(a.replace("_", " "), b.replace("_", " ")) for a, b in rows]


# What a thing is; why something is so; how two things differ; how something is done, step by step.
TOPICS = {key: sentences(value) for key, value in table("topics").items()}
WHY = {key: sentences(value) for key, value in table("why").items()}
DIFFERENT = {key: sentences(value) for key, value in table("differences").items()}
HOWTO = {key: sentences(value) for key, value in table("howto").items()}
# Members of a class; answers to a feeling.
LISTS = {key: value.split(", ") for key, value in table("lists").items()}
FEELINGS = {key: alternatives(value) for key, value in table("feelings").items()}

CAPITALS = pairs("""
France Paris, Germany Berlin, Italy Rome, Spain Madrid, Portugal Lisbon, England London, Ireland Dublin, Scotland
Edinburgh, Norway Oslo, Sweden Stockholm, Finland Helsinki, Denmark Copenhagen, Poland Warsaw, Austria Vienna,
Greece Athens, Hungary Budapest, Russia Moscow, Ukraine Kyiv, Belgium Brussels, Turkey Ankara, Egypt Cairo, Kenya
Nairobi, Ghana Accra, Morocco Rabat, Nigeria Abuja, Ethiopia Addis_Ababa, Japan Tokyo, China Beijing, India
New_Delhi, Thailand Bangkok, Vietnam Hanoi, South_Korea Seoul, Indonesia Jakarta, Nepal Kathmandu, Iran Tehran, Iraq
Baghdad, Canada Ottawa, Mexico Mexico_City, Cuba Havana, Brazil Brasilia, Argentina Buenos_Aires, Chile Santiago,
Peru Lima, Colombia Bogota, Australia Canberra, New_Zealand Wellington, Iceland Reykjavik, the_United_States
Washington, Switzerland Bern, the_Netherlands Amsterdam
""")
OPPOSITES = pairs("""
hot cold, big small, tall short, fast slow, happy sad, old young, new old, light dark, day night, up down, left
right, open closed, full empty, wet dry, hard soft, loud quiet, strong weak, rich poor, early late, near far, high
low, clean dirty, thick thin, heavy light, good bad, easy difficult, long short, first last, push pull, laugh cry,
begin end, buy sell, win lose, give take, brave afraid, sweet sour, awake asleep, true false, same different, inside
outside
""")
SOUNDS = pairs("""
cow moo, dog woof, cat meow, duck quack, sheep baa, horse neigh, pig oink, rooster cock-a-doodle-doo, bee buzz, frog
ribbit, owl hoot, lion roar, snake hiss, mouse squeak, crow caw, wolf howl
""")
BABIES = pairs("""
dog puppy, cat kitten, cow calf, horse foal, sheep lamb, goat kid, pig piglet, duck duckling, hen chick, bear cub,
lion cub, deer fawn, frog tadpole, kangaroo joey, swan cygnet, goose gosling, butterfly caterpillar
""")
HOMES = pairs("""
bee hive, bird nest, spider web, dog kennel, horse stable, fox den, rabbit burrow, ant anthill, fish water, bear
cave, cow barn, squirrel tree, beaver lodge
""")

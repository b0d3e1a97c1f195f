"""What the teacher is asked, and the examples it sees first.

A category is a prompt maker, a few examples (the shared prefix of a batch) and a share of the sampling time. The
examples set length and tone: short, plain, finished answers. In every maker `r` is the source of randomness; the
same seed gives the same prompts.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import words as W
from english import article, capitalized, is_plural

SYSTEM = "You are a helpful assistant. You answer in short and simple sentences."


Mode = Literal["examples", "system"]


@dataclass(frozen=True)
class Category:
    """One kind of prompt. Several categories may share a name, with other examples or another mode."""

    name: str
    share: float  # of the sampling time; all shares sum to 1
    make: Callable[[random.Random], str]
    examples: list[tuple[str, str]]  # (question, answer)
    temperature: float
    mode: Mode = "examples"  # "system": only the system line comes before the prompt


def fill(r: random.Random, text: str) -> str:
    """Puts a word into each slot of a template; `a {slot}` gets the article that fits."""
    for slot, choices in (
        ("{object}", W.OBJECTS),
        ("{place}", W.PLACES),
        ("{animal}", W.ANIMALS),
        ("{trait}", W.TRAITS),
    ):
        while slot in text:
            pick = r.choice(choices)
            if "a " + slot in text:
                text = text.replace("a " + slot, article(pick), 1)
            else:
                text = text.replace(slot, pick, 1)
    return text


def hero(r: random.Random) -> str:
    kind = r.random()
    who = r.choice(W.ANIMALS if r.random() < 0.55 else W.PEOPLE)
    trait = r.choice(W.TRAITS)
    phrase = article(f"{trait} {who}") if kind < 0.75 else article(who)
    return phrase + (f" named {r.choice(W.NAMES)}" if r.random() < 0.45 else "")


def story(r: random.Random) -> str:
    who, event = hero(r), fill(r, r.choice(W.EVENTS))
    about = r.choice(
        [
            f"{who} who {event}",
            f"{who} who {event}",
            f"{who} who {event}",
            f"{who} and {article(r.choice(W.OBJECTS))}",
            f"{who} in the {r.choice(W.PLACES)}",
            f"{who} and {article(r.choice(W.TRAITS) + ' ' + r.choice(W.ANIMALS))}",
            f"{article(r.choice(W.OBJECTS))} and {who}",
        ]
    )
    lesson = r.choice(W.LESSONS)
    return r.choice(
        [
            f"Tell me a short story about {about}.",
            f"Write a short story about {about}.",
            f"Tell me a story about {about}.",
            f"Write {article(r.choice(W.STYLES))} story about {about}.",
            f"Tell me {article(r.choice(W.STYLES))} bedtime story about {about}.",
            f"Can you tell me a story about {about}?",
            f"Please write a little story about {about}.",
            f"I want to hear a story about {about}.",
            f"Write a story about {about}. It should teach about {lesson}.",
            f"Tell a short story about {lesson} with {who}.",
            f"Make up a story about {about}.",
            f"Tell me a story that begins with {article(r.choice(W.OBJECTS))}.",
        ]
    )


def poem(r: random.Random) -> str:
    topic = r.choice(W.POEMS)
    style = r.choice(W.STYLES)
    return r.choice(
        [
            f"Write a short poem about {topic}.",
            f"Write {article(style)} poem about {topic}.",
            f"Can you write a poem about {topic}?",
            f"Give me four lines about {topic}.",
            f"Write a little rhyme about {topic}.",
            f"Please write a poem about {topic} and {r.choice(W.POEMS)}.",
        ]
    )


def explain(r: random.Random) -> str:
    kind = r.random()
    if kind < 0.30:
        why = r.choice(W.WHY)
        return r.choice(
            [
                f"Why do you think {why}?",
                f"Can you explain why {why}?",
                f"Explain why {why}.",
                f"Tell me why {why}.",
                f"Do you know why {why}?",
                f"In simple words, explain why {why}.",
            ]
        )
    if kind < 0.40:
        pair = r.choice(W.PAIRS)
        return r.choice(
            [
                f"What is the difference between {pair}?",
                f"How are {pair} different?",
                f"Explain the difference between {pair} in simple words.",
            ]
        )
    topic = r.choice(W.TOPICS)
    plural = is_plural(topic)
    return r.choice(
        [
            f"What {'are' if plural else 'is'} {topic}?",
            f"Explain {topic} simply.",
            f"Explain {topic} to a child.",
            f"Tell me about {topic}.",
            f"What can you tell me about {topic}?",
            f"Can you explain {topic} in simple words?",
            f"Teach me something about {topic}.",
            f"Why {'are' if plural else 'is'} {topic} important?",
            f"What do people use {topic} for?" if not plural else f"What should I know about {topic}?",
            f"Describe {topic} in two sentences.",
        ]
    )


def describe(r: random.Random) -> str:
    scene = r.choice(W.SCENES)
    return r.choice(
        [
            f"Describe {scene}.",
            f"Describe {scene} in three sentences.",
            f"Write a paragraph about {scene}.",
            f"What does {scene} look like?",
            f"Paint a picture of {scene} with words.",
            f"Write two sentences about {scene}.",
            f"Imagine {scene}. What do you see and hear?",
            f"Describe {article(r.choice(W.TRAITS) + ' ' + r.choice(W.ANIMALS))} in the {r.choice(W.PLACES)}.",
        ]
    )


def lists(r: random.Random) -> str:
    topic = r.choice(W.LISTS)
    n = r.choice(["three", "three", "four", "five", "3", "5"])
    return r.choice(
        [
            f"List {n} {topic}.",
            f"Give me {n} {topic}.",
            f"Name {n} {topic}.",
            f"Can you list {n} {topic}?",
            f"Write a list of {n} {topic}.",
            f"What are {n} {topic}?",
            f"Tell me {n} {topic}.",
        ]
    )


def howto(r: random.Random) -> str:
    task = r.choice(W.TASKS)
    return r.choice(
        [
            f"How do I {task}?",
            f"How can I {task}?",
            f"Tell me how to {task}.",
            f"Explain how to {task} in simple steps.",
            f"What is the best way to {task}?",
            f"Give me simple steps to {task}.",
            f"I want to {task}. How do I start?",
            f"Give me one tip to {task}.",
        ]
    )


def chat(r: random.Random) -> str:
    kind = r.random()
    if kind < 0.6:
        line = r.choice(W.ADVICE)
        return capitalized(line) + r.choice(
            [". What should I do?", ".", ". Can you help me?", ". Any ideas?", ". Talk to me."]
        )
    if kind < 0.75:
        pair = r.choice(W.OPINIONS)
        return r.choice([f"What is better, {pair}?", f"Do you prefer {pair}?", f"{capitalized(pair)}? Help me choose."])
    return r.choice(
        [
            f"Let us talk about {r.choice(W.TOPICS)}.",
            f"What do you think about {r.choice(W.TOPICS)}?",
            f"Can we talk about {r.choice(W.KINDS)}?",
            f"Ask me a question about {r.choice(W.KINDS)}.",
            f"Say something nice about {r.choice(W.KINDS)}.",
            f"Tell me something nice about {r.choice(W.LESSONS)}.",
            f"What makes {article(r.choice(W.TRAITS))} friend?",
        ]
    )


def facts(r: random.Random) -> str:
    kind = r.choice(W.KINDS)
    return r.choice(
        [
            f"Tell me a fun fact about {kind}.",
            f"Tell me one fact about {kind}.",
            f"What is special about {kind}?",
            f"Do you know anything about {kind}?",
            f"Tell me something interesting about {kind}.",
            f"Give me a short fact about {kind}.",
            f"What do you know about {kind}?",
            f"Where can I find {kind}?",
        ]
    )


STORY_A = [
    (
        "Tell me a short story about a shy mouse who makes a new friend.",
        "Once upon a time, a shy mouse named Dot lived under the floor of an old barn. She was afraid to talk to "
        "anyone. One cold night, she saw a small cricket shaking in the wind. Dot felt sorry for him. She opened "
        'her little door and said, "You can stay with me." The cricket smiled and came inside. To say thank you, '
        "he played a soft song. Dot began to dance, and soon she forgot that she was shy. From that night on, the "
        "two friends sang and danced every evening, and the barn was never quiet again.",
    ),
    (
        "Write a story about an old sailor and a lost letter.",
        "An old sailor named Peter walked along the beach every morning. One day, he found a bottle with a letter "
        'inside. The letter said, "Please tell my sister that I am safe." It was signed by a girl named May. Peter '
        "went from house to house and asked everyone in the village. At last, a young woman began to cry. "
        '"May is my sister," she said. "I thought I had lost her." She hugged Peter, and he smiled. That night, he '
        "slept well, because he had brought good news to someone who needed it.",
    ),
]

STORY_B = [
    (
        "Tell me a story about a proud rooster who loses a race.",
        "There was once a proud rooster called Rufus who told everyone that he was the fastest bird on the farm. "
        'The little duck laughed and said, "Let us race to the pond." Rufus ran very fast, but halfway there he '
        "stopped to look at himself in a puddle. The duck walked slowly and did not stop. When Rufus looked up, the "
        "duck was already swimming in the pond. Rufus felt sorry. He walked to the duck and said, "
        '"You won, and I was silly." The duck said, "Come and swim with me." After that day, Rufus talked less and '
        "listened more.",
    ),
    (
        "Write a happy story about a girl named Nell who plants a seed.",
        "Nell found a small seed in her pocket. She did not know what it was, but she planted it near the kitchen "
        "door. Every morning she gave it water. For many days, nothing happened. Her brother said that the seed was "
        "dead, but Nell did not give up. Then one morning, she saw a tiny green leaf. The plant grew and grew until "
        "it was taller than Nell. In summer, it had a big yellow flower. It was a sunflower! Nell gave the new seeds "
        "to her brother and all her friends. The next year, the whole street was yellow.",
    ),
]

STORY_C = [
    (
        "Make up a story about a clever crow and a golden coin.",
        "A clever crow saw a golden coin at the bottom of a deep jar. He could not reach it with his beak. So he "
        "looked around and found some small stones. He dropped them into the jar, one by one. The coin did not "
        "move. The crow thought for a while. Then he pushed the jar with all his strength, and it fell over. The "
        "coin rolled out into the sun. A poor boy was watching. The crow looked at the boy's old shoes and gave "
        "him the coin. The boy bought warm shoes, and he brought the crow fresh bread every day.",
    ),
    (
        "Tell me a gentle bedtime story about a tired bear.",
        "The sun went down, and a tired bear walked home through the forest. He had been fishing all day. On the "
        "way, he met a rabbit who could not find her nest. The bear wanted to sleep, but he helped her look. They "
        "looked behind the rocks and under the trees. At last they found it, next to the old oak. "
        '"Thank you," said the rabbit, and she gave him a soft pillow made of grass. The bear went to his cave, put '
        "his head on the pillow, and closed his eyes. The stars came out, and the forest was still. Good night, "
        "little bear.",
    ),
]

POEM = [
    (
        "Write a short poem about a candle.",
        "A little candle burns so bright,\nIt fills the room with golden light.\nThe shadows dance, the night is "
        "deep,\nIt keeps me warm until I sleep.",
    ),
    (
        "Can you write a poem about the garden?",
        "In the garden, green and small,\nRoses climb the garden wall.\nBees are busy all the day,\nButterflies come "
        "here to play.\n\nWhen the evening sun is low,\nSoft and gentle breezes blow.\nEvery flower bows its head,\n"
        "And the garden goes to bed.",
    ),
    (
        "Give me four lines about a friend.",
        "A friend will laugh when you are glad,\nA friend will stay when you are sad.\nThrough sun and rain, through "
        "night and day,\nA friend will never walk away.",
    ),
]

EXPLAIN = [
    (
        "What is a shadow?",
        "A shadow is a dark shape on the ground or on a wall. It appears when something blocks the light. When you "
        "stand in the sun, your body stops some of the light, so you see your shadow behind you. Shadows are long "
        "in the morning and short at noon.",
    ),
    (
        "Explain why we wear coats in winter.",
        "In winter, the air is cold and our body loses heat. A coat keeps the warm air close to our skin, so we "
        "stay warm. Without a coat, we would feel cold very quickly.",
    ),
    (
        "What is the difference between a pen and a pencil?",
        "A pen writes with ink, and a pencil writes with graphite. You can erase pencil marks, but ink usually "
        "stays on the paper. People often use pencils for drawing and pens for letters.",
    ),
    (
        "Tell me about bridges.",
        "A bridge helps people cross a river, a road or a valley. Bridges can be made of wood, stone, steel or "
        "concrete. Some bridges are small and only for walking. Others are very long and carry cars and trains.",
    ),
    (
        "Explain patience to a child.",
        "Patience means that you can wait without getting angry. When you plant a seed, it does not become a flower "
        "in one day. You give it water and you wait. Being patient helps you enjoy good things when they come.",
    ),
]

DESCRIBE = [
    (
        "Describe a small harbor at night.",
        "The harbor is quiet and dark. A few boats rock slowly on the black water, and their ropes make a soft "
        "sound. Yellow lamps shine along the stone wall. The air smells of salt and fish. Far away, the light of a "
        "lighthouse turns again and again.",
    ),
    (
        "Write two sentences about a sleepy puppy.",
        "The little puppy lies on the warm rug with his nose between his paws. His ears move now and then, as if he "
        "is chasing a ball in his dreams.",
    ),
    (
        "What does a spring morning look like?",
        "On a spring morning, the sun comes up early and the sky is pale blue. Small white flowers open in the "
        "grass, and drops of dew shine like glass. Birds sing in every tree. The air is fresh and cool, and "
        "everything seems new.",
    ),
]

LISTS = [
    (
        "List three things in a living room.",
        "1. A soft sofa to sit on\n2. A lamp that gives warm light\n3. A shelf full of books",
    ),
    (
        "Give me four ways to have fun outside.",
        "1. Play ball with your friends.\n2. Ride your bicycle in the park.\n3. Look for interesting leaves and "
        "stones.\n4. Have a picnic under a tree.",
    ),
    (
        "What are three kinds of bread?",
        "Three kinds of bread are white bread, rye bread and flat bread. White bread is soft, rye bread is dark, "
        "and flat bread is thin.",
    ),
    (
        "Name five animals with long tails.",
        "1. Monkey\n2. Cat\n3. Mouse\n4. Horse\n5. Lizard",
    ),
]

HOWTO = [
    (
        "How do I make toast?",
        "1. Take two slices of bread.\n2. Put them in the toaster and press the button down.\n3. Wait until the "
        "bread is golden brown.\n4. Spread butter or jam on the warm toast and enjoy it.",
    ),
    (
        "What is the best way to learn a song?",
        "Listen to the song a few times first. Then sing one line at a time until you know it. After that, put the "
        "lines together and sing the whole song slowly. Practice a little every day, and soon you will know it by "
        "heart.",
    ),
    (
        "Give me one tip to feel less nervous.",
        "Take five slow, deep breaths and think about a place where you feel safe. Slow breathing tells your body "
        "that everything is fine.",
    ),
    (
        "Tell me how to wash an apple.",
        "Hold the apple under clean, cool water. Rub it gently with your hands for about twenty seconds. Then dry "
        "it with a clean towel. Now it is ready to eat.",
    ),
]

CHAT = [
    (
        "I feel a bit lost today. What should I do?",
        "I am sorry that you feel lost. Try to do one small thing that you enjoy, like taking a walk or calling a "
        "friend. Small steps can make a big difference. Would you like to tell me more?",
    ),
    (
        "What is better, reading or writing?",
        "Both are wonderful. Reading takes you to new places, and writing lets you share your own ideas. If you "
        "want to rest, read a book. If you have something to say, write it down.",
    ),
    (
        "I finished my first book!",
        "That is great news! You should be proud of yourself. What was the book about, and which part did you like "
        "best?",
    ),
    (
        "What do you think about snow?",
        "Snow is beautiful and quiet. It makes the whole world look new. It is also fun to play in, but you need "
        "warm gloves!",
    ),
]

FACTS = [
    (
        "Tell me a fun fact about goats.",
        "Goats are very good climbers. Some of them even climb trees to reach tasty leaves and fruit!",
    ),
    (
        "What is special about owls?",
        "Owls can turn their heads very far to look behind them. They fly almost without a sound, which helps them "
        "hunt mice at night.",
    ),
    (
        "What do you know about salt?",
        "Salt is a white mineral that we use to make food taste better. It comes from the sea or from mines under "
        "the ground. Long ago, salt was so valuable that people traded it like money.",
    ),
    (
        "Where can I find crabs?",
        "You can find crabs near the sea. Many crabs hide under rocks or in the sand on the beach. Some kinds live "
        "in deep water.",
    ),
]

CATEGORIES = [
    Category("story", 0.14, story, STORY_A, 0.75),
    Category("story", 0.14, story, STORY_B, 0.75),
    Category("story", 0.14, story, STORY_C, 0.75),
    Category("explain", 0.10, explain, EXPLAIN, 0.6, "system"),
    Category("explain", 0.09, explain, EXPLAIN, 0.6),
    Category("describe", 0.06, describe, DESCRIBE, 0.7, "system"),
    Category("describe", 0.06, describe, DESCRIBE, 0.7),
    Category("list", 0.05, lists, LISTS, 0.7),
    Category("howto", 0.07, howto, HOWTO, 0.65),
    Category("chat", 0.06, chat, CHAT, 0.7),
    Category("poem", 0.06, poem, POEM, 0.8),
    Category("fact", 0.03, facts, FACTS, 0.6),
]


USER = "<|im_start|>user\n"


def chatml(turns: list[tuple[str, str]]) -> str:
    """Turns of (role, text) in the teacher's chat format."""
    return "".join(f"<|im_start|>{role}\n{text}<|im_end|>\n" for role, text in turns)


def prefix_text(category: Category) -> str:
    """What comes before every prompt of a category, up to the opening of the user's turn."""
    turns = [("system", SYSTEM)]
    if category.mode == "examples":
        for question, answer in category.examples:
            turns += [("user", question), ("assistant", answer)]
    return chatml(turns) + USER


def prompt_text(prompt: str) -> str:
    """What follows the prefix: the rest of the user's turn, and the opening of the answer."""
    return prompt + "<|im_end|>\n<|im_start|>assistant\n"

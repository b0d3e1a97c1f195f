"""Word lists for the prompt templates: plain data, one theme a list. `prompts.fill` fills the slots in braces."""

from text import listed

ANIMALS = listed("""fox, rabbit, bear, mouse, owl, turtle, cat, dog, squirrel, frog, duck, hedgehog, horse,
pony, goat, lamb, pig, cow, hen, rooster, crow, sparrow, robin, goose, swan, bee, butterfly, ladybug,
ant, spider, snail, fish, whale, dolphin, seal, penguin, otter, beaver, deer, wolf, badger, mole, bat,
lizard, elephant, lion, tiger, monkey, giraffe, zebra, hippo, camel, kangaroo, koala, panda, parrot,
dragon, unicorn, donkey, puppy, kitten""")

PEOPLE = listed("""girl, boy, farmer, baker, fisherman, teacher, painter, gardener, sailor, queen, king,
prince, princess, knight, wizard, witch, inventor, clockmaker, shepherd, carpenter, postman, doctor,
nurse, librarian, cook, tailor, singer, dancer, explorer, pilot, astronaut, robot, giant, grandmother,
grandfather, shopkeeper, musician, poet, potter, blacksmith, beekeeper, lighthouse keeper, miller,
firefighter, student, young artist, old man, old woman, scientist, juggler""")

NAMES = listed("""Anna, Ben, Clara, Daniel, Ella, Finn, Grace, Henry, Ivy, Jack, Kate, Leo, Lily, Mia, Max,
Nina, Oliver, Paul, Rosa, Sam, Tom, Tara, Emma, Noah, Lucy, Theo, Ruby, Oscar, Maya, Luna, Felix, Hugo,
Nora, Omar, Zoe, Eli, Alice, Amir, Bella, Carlos, Dora, Emil, Fatima, George, Hana, Ian, Julia, Karim,
Lena, Marco, Nadia, Otto, Pia, Ravi, Sara, Tim, Uma, Victor, Wendy, Yuki, Pip, Milo, Daisy, Poppy, Coco,
Benny, Rosie, Toby, Willow, Hazel, Jasper, Olive, Sunny, Teddy, Pepper, Maple, Clover, Biscuit""")

OBJECTS = listed("""key, red ball, old map, blue kite, golden coin, music box, silver bell, wooden boat,
small lamp, magic seed, broken clock, warm scarf, lost letter, shiny stone, green umbrella, toy train,
paper star, glass bottle, tiny door, striped hat, big drum, yellow bucket, apple pie, loaf of bread,
honey jar, picture book, paintbrush, feather, seashell, rusty bicycle, garden swing, snow globe, mirror,
candle, basket of berries, pair of boots, birthday cake, treasure chest, flute, violin, balloon, quilt,
teapot, ladder, lantern, telescope, compass, bracelet, crown, pumpkin, sunflower, nest, pocket watch,
rainbow ribbon, wagon, sled, puppet, secret note, magic pencil, bag of marbles""")

PLACES = listed("""forest, small village, big city, farm, beach, mountain, garden, river, lake, castle,
school, library, market, island, meadow, desert, jungle, cave, harbor, bakery, train station, park,
lighthouse, zoo, museum, orchard, barn, kitchen, attic, playground, treehouse, hill, valley, snowy field,
quiet street, old house, workshop, toy shop, circus, space station, moon, bottom of the sea, pond, bridge,
tower, theater, hospital, windmill, vineyard, campsite""")

TRAITS = listed("""brave, kind, shy, curious, lazy, clever, lonely, cheerful, grumpy, honest, greedy, gentle,
clumsy, proud, patient, tiny, sleepy, hungry, friendly, forgetful, careful, generous, stubborn, playful,
quiet, wise, worried, silly, hopeful, jealous, polite, messy, helpful, young, old, tired, busy, bored,
happy, sad, nervous, calm, funny, strong, small, little, poor, rich, lucky, thoughtful""")

EVENTS = listed("""finds a {object}, loses a {object}, gets lost in the {place}, makes a new friend,
learns to swim, learns to share, tells a lie and feels sorry, helps a lost {animal}, plants a seed,
builds a house, saves a friend, goes on a long trip, wants to fly, is afraid of the dark, bakes a cake,
cannot sleep, wins a race, loses a race, fixes a {object}, meets a {trait} {animal}, hears a strange noise,
sees snow for the first time, visits the {place}, has a birthday, shares a {object} with a {animal},
wants to sing, learns to say sorry, waits for the rain, builds a boat, looks for the moon,
finds a secret door, rescues a {animal}, starts a new school, cleans the {place}, paints a picture,
misses home, gets a letter, follows a map, learns to be patient, gives away a {object}, makes soup for
everyone, stops a fight, grows a giant vegetable, climbs a mountain, crosses the river, finds a baby bird,
breaks a {object} by accident, loses a tooth, learns to read, wants to be taller, hides from the storm,
makes a {object} for a friend, asks too many questions, keeps a promise, forgets a promise,
teaches a {animal} to dance, catches a falling star, dreams about the {place}""")

LESSONS = listed("""sharing, honesty, friendship, courage, patience, kindness, saying sorry, working together,
listening, trying again, being yourself, helping others, keeping a promise, being thankful, caring for
nature, telling the truth, asking for help, not giving up, family, being careful, hope, forgiveness,
being fair, hard work, taking turns, trust""")

STYLES = listed("""funny, happy, gentle, exciting, cozy, magical, surprising, warm, simple, dreamy, silly,
calm, sweet, adventurous""")

TOPICS = listed("""rain, snow, wind, the sun, the moon, stars, clouds, thunder, lightning, a rainbow,
the seasons, day and night, the ocean, tides, rivers, lakes, mountains, volcanoes, earthquakes, deserts,
forests, islands, glaciers, gravity, magnets, electricity, light, shadows, sound, heat, ice, fire, water,
air, soil, rocks, sand, metal, glass, paper, wood, plastic, rubber, cotton, wool, silk, bread, cheese,
butter, honey, chocolate, salt, sugar, milk, eggs, rice, pasta, soup, tea, coffee, fruit, vegetables,
seeds, roots, leaves, flowers, trees, grass, mushrooms, bees, ants, spiders, butterflies, birds, fish,
whales, sharks, dolphins, frogs, snakes, turtles, dinosaurs, cats, dogs, horses, cows, elephants, lions,
bears, wolves, owls, penguins, the heart, the brain, the lungs, bones, muscles, skin, blood, teeth, eyes,
ears, sleep, dreams, memory, exercise, breathing, hunger, a cold, medicine, vitamins, a doctor, a bicycle,
a car, a train, an airplane, a boat, a submarine, a rocket, a satellite, a telescope, a microscope,
a camera, a clock, a compass, a map, a computer, the internet, a phone, a robot, a battery, a light bulb,
an engine, a bridge, an elevator, a windmill, a solar panel, a refrigerator, a microwave, a mirror,
a magnet, a pencil, a book, a library, a school, a museum, a market, money, a bank, a job, a city,
a village, a farm, a garden, a map of the world, history, music, a song, a piano, a guitar, a drum,
painting, color, dance, a story, a poem, language, writing, reading, numbers, counting, adding,
subtraction, a circle, a triangle, time, a week, a month, a year, a calendar, a holiday, a birthday,
friendship, kindness, trust, courage, honesty, patience, happiness, sadness, anger, fear, love, hope,
a promise, a rule, teamwork, a game, chess, football, swimming, running, cooking, recycling, pollution,
energy, the weather, climate, a storm, a flood, a planet, the solar system, Mars, the Earth, the sky,
space, an astronaut, atoms, steam, soap, a candle, a bubble, a balloon, a kite, a wheel, a lever,
a pulley, a spring, a key and a lock, a zipper, an umbrella, a shoe, a hat, glasses""")

WHY = listed("""the sky is blue, the grass is green, leaves fall in autumn, ice floats on water, we need sleep,
we need water, birds fly south, bees make honey, cats purr, dogs bark, the moon changes shape, it rains,
the sea is salty, we see lightning before thunder, plants need sunlight, we yawn, we sneeze, we dream,
we laugh, we cry, people have different languages, metal rusts, bread rises, popcorn pops, soap cleans,
the sun sets, we have seasons, fish live in water, spiders make webs, owls are awake at night,
we brush our teeth, we wash our hands, reading is important, sharing is good, exercise is healthy,
vegetables are healthy, sugar is bad for teeth, people keep pets, people travel, people sing,
friends are important, we should be kind, we should recycle, trees are important, bees are important,
a boat floats, a magnet sticks to metal, hot air rises, mirrors show our face, a ball bounces,
we feel cold, we sweat, our heart beats, stars twinkle, snow is white, days are longer in summer,
computers are useful, maps are useful, clocks are useful, we need rules, it is good to say thank you,
we should tell the truth, children play games, old books are special, practice is important""")

TASKS = listed("""make a cup of tea, make a sandwich, bake bread, cook rice, boil an egg, make pancakes,
make a fruit salad, make lemonade, make vegetable soup, bake cookies, wash my hands, brush my teeth,
clean my room, wash the dishes, fold a shirt, tie my shoes, pack a suitcase, plan a picnic, plant a seed,
grow tomatoes, water a plant, take care of a cat, take care of a dog, feed birds, fly a kite, ride a bicycle,
learn to swim, draw a cat, draw a tree, paint a picture, make a paper airplane, make a paper boat,
write a letter, write a poem, write a story, learn a new word, learn a language, study for a test,
read more books, remember names, make a new friend, say sorry, calm down, fall asleep, wake up early,
save money, save water, save energy, plan my day, be more patient, be a good friend, be a good listener,
help at home, build a sandcastle, build a snowman, build a birdhouse, make a birthday card, wrap a gift,
set the table, throw a party, play chess, play hide and seek, tell a joke, tell a good story, sing a song,
play the piano, take a good photo, find my way in a city, cross the street safely, stay safe in the sun,
stay warm in winter, stay healthy, eat more vegetables, drink more water, start exercising, take a break,
focus on homework, fix a flat tire, clean a window, iron a shirt, sort the laundry, keep flowers fresh,
make a list, start a garden, keep a diary, learn to draw, learn to cook, make hot chocolate,
make a simple salad, make popcorn, peel an orange, cut an onion, choose a book, ask for help""")

LISTS = listed("""fruits, vegetables, animals that live in the sea, animals that can fly, farm animals,
things you can do on a rainy day, things you can do at the beach, things in a kitchen, things in a school bag,
ways to be kind, ways to save water, ways to save energy, ways to help at home, ways to relax,
ways to make a friend, reasons to read books, reasons to exercise, reasons to sleep well, games for children,
games for a party, healthy snacks, breakfast ideas, simple dinner ideas, picnic foods, warm drinks,
cold drinks, musical instruments, sports, winter sports, hobbies, jobs, tools, vehicles, colors, shapes,
flowers, trees, birds, insects, wild animals, pets, planets, kinds of weather, seasons and what they bring,
things that are red, things that are round, things that are soft, things that are hot, things that are cold,
things that fly, things made of wood, things made of glass, rooms in a house, pieces of furniture,
clothes for winter, clothes for summer, things to take on a trip, things to take camping, gifts for a friend,
gifts for a grandmother, ideas for a birthday party, ideas for a school project, ideas for a short story,
names for a cat, names for a dog, names for a boat, good habits, morning habits, safety rules,
rules for a classroom, rules for a library, questions to ask a new friend, words that mean happy,
words that mean big, words that mean fast, sounds in a forest, smells in a kitchen, things to see in a city,
things to see in a village, things to see in the night sky, facts about the moon, facts about the sun,
facts about cats, facts about dogs, facts about bees, facts about elephants, facts about whales,
facts about trees, facts about water, facts about the ocean, tips for sleeping well, tips for studying,
tips for cooking, tips for a healthy life, tips for saving money, tips for a new student, uses of wood,
uses of paper, uses of a computer, uses of a rope, parts of a plant, parts of a tree, parts of the body,
parts of a bicycle, feelings, things that make people smile, things you can recycle,
things to be thankful for""")

SCENES = listed("""a quiet village in winter, a busy market, a small bakery in the morning, a forest in autumn,
a beach at sunset, a rainy street, an old library, a mountain lake, a garden in spring, a train station,
a farm at dawn, a snowy field, a cozy kitchen, a tall lighthouse, a night sky full of stars, a city at night,
a summer storm, a river in the forest, a school playground, a birthday party, a toy shop, a sleepy cat,
a happy dog, an old tree, a castle on a hill, a ship at sea, a desert at noon, a field of sunflowers,
a cup of hot chocolate, a warm blanket, a campfire, a bridge in the fog, a small island, a treehouse,
a flower shop, a clock tower, a circus, a windmill, a frozen pond, an apple orchard, a bee on a flower,
a butterfly, a grandmother's kitchen, a fisherman's boat, a quiet morning, a winter evening,
the first day of school, the first day of spring, a long walk, a full moon, a rainbow after rain,
a puppet show, a music room, a painter's studio, an attic full of old things, a bowl of soup,
a loaf of fresh bread, a spider web with dew, a waterfall, a cave, a meadow with horses, a hot air balloon,
a parade, a fireplace, a window on a rainy day, a duck pond, a vegetable garden, a harbor in the morning,
a bus ride, a busy kitchen, a quiet museum, a snowman, a robot, a dragon, a unicorn, a friendly giant,
a magic door, a secret garden, a sailboat, a baby elephant, a wise owl, a clever fox""")

POEMS = listed("""the moon, the sea, the rain, snow, spring, summer, autumn, winter, a river, a tree, a flower,
the stars, the sun, the wind, a cat, a dog, a bird, a fox, a bee, a butterfly, a friend, my mother,
my grandfather, home, a small house, a garden, the night, the morning, a dream, hope, love, courage,
kindness, a smile, music, a song, dancing, a book, a boat, a train, a kite, a mountain, a forest, a lake,
a leaf, a stone, a cloud, a rainbow, bread, tea, an apple, a clock, time, silence, a candle, a star,
the city, the village, a bridge, a road, a letter, a unicorn, a dragon, a robot, a snail, an owl, a frog,
the ocean, a shell, the beach, a storm, a puddle, an umbrella, sleep, a lullaby, a birthday, a gift,
laughter, peace, the first snow, the last day of summer, a lonely lighthouse, a sleepy town, a field of
flowers, an old tree, a little boat, a warm fire, a quiet morning""")

ADVICE = listed("""I feel sad today, I feel lonely, I am tired, I am bored, I had a bad day, I had a great day,
I am nervous about a test, I am starting a new school, I lost my favorite toy, I had a fight with my friend,
I cannot sleep, I am hungry, I am angry, I feel happy, I miss my grandmother, I made a mistake,
I broke a glass, I am afraid of the dark, I am learning to swim, I got a new puppy, my cat is sick,
it is raining and I want to play, I want to learn something new, I want to be a better friend,
I have too much homework, I want to cook something easy, I do not know what to read, I won a game,
I lost a game, I am moving to a new city, tomorrow is my birthday, I forgot my homework,
I want to help my family, I am shy, I want to save money, I want to eat healthy food, I want to get up early,
I have a headache, my friend is sad, I need a gift for my mother, I want to write a story, I like music,
I like to draw, I am going on a trip, I am waiting for a friend, I want to plant a garden,
I am learning to play the guitar, I feel proud, I feel worried, I want a pet, I do not like vegetables""")

OPINIONS = listed("""cats or dogs, summer or winter, tea or coffee, the sea or the mountains, books or films,
morning or evening, apples or oranges, a small town or a big city, trains or airplanes, sweet or salty food,
rain or snow, drawing or singing, chess or football, spring or autumn, a bicycle or a car""")

PAIRS = listed("""a lake and a river, a frog and a toad, a cat and a lion, a moon and a planet,
a star and a planet,
a city and a village, rain and snow, a fruit and a vegetable, a bee and a wasp, a butterfly and a moth,
a boat and a ship, a hill and a mountain, weather and climate, a violin and a guitar, a novel and a poem,
hearing and listening, a friend and a neighbor, a crocodile and a lizard, day and night, a cup and a glass,
butter and cheese, tea and coffee, wood and metal, a bus and a train, a bicycle and a motorcycle,
a rabbit and a hare, a dolphin and a fish, a doctor and a nurse, a cook and a baker, a forest and a jungle,
an ocean and a sea, a king and a president, a job and a hobby, a clock and a calendar, ice and water""")

KINDS = listed("""cats, dogs, elephants, bees, penguins, owls, dolphins, whales, horses, spiders, ants,
turtles,
frogs, bears, lions, butterflies, birds, fish, snails, bats, rabbits, foxes, cows, chickens, ducks, sharks,
octopuses, the moon, the sun, the Earth, Mars, the ocean, rain, snow, trees, flowers, mushrooms, apples,
bananas, bread, chocolate, honey, milk, the heart, the brain, bones, sleep, books, music, trains,
bicycles, airplanes, computers, robots, clocks, volcanoes, rivers, mountains, deserts, islands, dinosaurs""")

"""Prompts for distillation: topics times kinds of request, with topics held out for the evaluation."""

import random
from pathlib import Path
from typing import Final

TOPICS: Final = tuple(
    topic.strip()
    for topic in """
    the water cycle; photosynthesis; volcanoes; earthquakes; black holes; the Moon; Mars; comets; gravity;
    magnetism; electricity; batteries; solar panels; wind power; nuclear energy; steam engines; bicycles;
    electric cars; trains; airplanes; submarines; sailing boats; bridges; skyscrapers; tunnels; lighthouses;
    windmills; castles; the Roman Empire; ancient Egypt; the Silk Road; the Renaissance; the French
    Revolution; the Industrial Revolution; the printing press; the telephone; radio; television; the
    internet; email; smartphones; video games; chess; card games; crossword puzzles; jigsaw puzzles; board
    games; football; basketball; tennis; swimming; running; hiking; camping; rock climbing; skiing; surfing;
    yoga; meditation; sleep; breakfast; lunch at work; coffee; tea; chocolate; bread baking; pasta; pizza;
    soup; salads; cheese; apples; tomatoes; potatoes; rice; spices; honey; bees; butterflies; ants; spiders;
    owls; eagles; penguins; dolphins; whales; sharks; octopuses; coral reefs; rainforests; deserts;
    mountains; rivers; lakes; oceans; glaciers; rain; snow; thunderstorms; rainbows; hurricanes; climate
    change; recycling; compost; gardening; house plants; roses; oak trees; mushrooms; dogs; cats; horses;
    rabbits; goldfish; parrots; cows; chickens; farming; tractors; markets; supermarkets; money; saving
    money; budgets; banks; taxes; insurance; the stock     market; starting a business; small shops;
    advertising; customer service; job interviews; resumes; meetings; remote work; teamwork; leadership;
    time management; procrastination; motivation; learning languages; English grammar; poetry; novels; short
    stories; fairy tales; libraries; newspapers; journalism; photography; painting; drawing; sculpture;
    museums; dance; theater; movies; animation; jazz; classical music; guitars; pianos; drums; singing;
    choirs; birthday parties; weddings; holidays; travel; Paris; London; Tokyo; New York; India; Brazil;
    Kenya; Australia; Canada; Iceland; islands; beaches; hotels; airports; maps; compasses; clocks;
    calendars; numbers; fractions; geometry; probability; statistics; algebra; prime numbers; logic;
    computers; computer memory; programming; Python; sorting algorithms; databases; spreadsheets; web pages;
    passwords; computer security; robots; artificial intelligence; machine learning; 3D printing; drones;
    satellites; telescopes; microscopes; atoms; molecules; metals; plastics; glass; paper; wood; stone;
    gold; diamonds; salt; sugar; vitamins; exercise; the heart; the brain; lungs; bones; muscles; teeth;
    eyes; skin; vaccines; bacteria; viruses; medicine; first aid; hospitals; doctors; nurses; teachers;
    schools; universities; homework; exams; science fairs; friendship; family; grandparents; babies;
    neighbors; kindness; honesty; courage; patience; happiness; stress; dreams; memory; habits; fashion;
    shoes; hats; jewelry; furniture; kitchens; bathrooms; cleaning; laundry; painting a room; tools;
    woodworking; knitting; sewing; pottery; candles; fire safety; police; courts; elections; democracy;
    human rights; volunteering; charities; zoos; parks; playgrounds; circuses; magic tricks; dinosaurs;
    fossils; dragons; pirates; knights; ghosts; superheroes; aliens; time travel; space stations; buses;
    traffic; parking; bicycle lanes; elevators
    """.replace("\n", " ").split(";")
)

HELD_OUT_TOPICS: Final = tuple(
    topic.strip()
    for topic in """
    lightning; Saturn; hot air balloons; ferries; canals; the Vikings; the Great Wall of China; typewriters;
    dominoes; volleyball; archery; pancakes; lemons; cinnamon; beavers; hummingbirds; turtles; waterfalls;
    fog; tulips; cactuses; donkeys; savings accounts; public speaking; biographies; violins; picnics; Rome;
    Norway; triangles; keyboards; spam email; lasers; copper; the liver; dentists; gratitude; umbrellas;
    carpets; mermaids
    """.replace("\n", " ").split(";")
)

KINDS: Final = tuple(
    kind.strip()
    for kind in """
    What is interesting about {}?
    Explain {} to a ten year old.
    Explain {} in simple terms.
    Tell me three facts about {}.
    List five things everyone should know about {}.
    Write a short story about {}.
    Write a poem about {}.
    Write a haiku about {}.
    Write a funny story about {} and a talking mouse.
    Write an email to a friend about {}.
    Write a formal email asking for information about {}.
    Write a short speech about {}.
    Write a blog post introduction about {}.
    Write a news headline and a first paragraph about {}.
    Write a product description related to {}.
    Write a dialogue between two friends about {}.
    Write a dialogue between a teacher and a student about {}.
    Write a quiz question about {} with four options and the answer.
    Write three quiz questions about {} with answers.
    Write a Python function that has something to do with {}.
    Write a Python class that models {}.
    Write a SQL query for a table about {}.
    Write a small HTML page about {}.
    Give me a step by step guide to {}.
    What are the advantages and disadvantages of {}?
    Compare {} with something similar.
    What is the history of {}?
    Why is {} important?
    How does {} affect our daily life?
    What are common mistakes people make with {}?
    Give me five tips about {}.
    What questions should I ask an expert about {}?
    Summarize what you know about {} in two sentences.
    Define {} in one sentence.
    What is a good metaphor for {}?
    Make a to-do list for someone who wants to learn about {}.
    Plan a one day event about {}.
    Suggest a title for a book about {} and describe the book.
    Write a letter to the editor about {}.
    Describe {} using all five senses.
    Imagine a world without {}. What would change?
    What will {} look like in one hundred years?
    Give me an example of {} and explain it.
    Who might be interested in {} and why?
    What do beginners need to know about {}?
    Rewrite this sentence in a more polite way: Tell me about {} now.
    Rewrite this text so that it is shorter: I have always wanted to know more about {}, because of its charm and its history.
    Correct the grammar: Me and him was talking about {} yesterday and it are fun.
    Translate into French: I like {} very much.
    Is this sentence positive or negative? "I was surprised how much I enjoyed {}."
    """.strip().split("\n")  # noqa: E501  # a prompt is one line
)

FREE_PROMPTS: Final = tuple(
    prompt.strip()
    for prompt in """
    What should I check before buying a used car?
    My cat is scratching the sofa. What can I do?
    How do I make a simple tomato sauce?
    Write a function in Python that reverses a string.
    What is the difference between a virus and a bacterium?
    I have 12 eggs and use 5. How many are left? Explain.
    Write a cover letter for a job in a bakery.
    Tell me a joke about a computer.
    Why is the sky blue?
    Give me a name for a new coffee shop and a slogan.
    Write a short thank-you note to my grandmother.
    How can I fall asleep faster?
    What is the capital of Argentina, and what is it known for?
    Explain what an API is.
    Write a bedtime story about a brave little train.
    Which is heavier, a kilogram of feathers or a kilogram of iron?
    How do I tie a tie?
    Summarize the story of Romeo and Juliet.
    What are good questions for a first date?
    Write a regular expression that matches an email address and explain it.
    How does a refrigerator keep food cold?
    Give me a weekly workout plan for beginners.
    What is the meaning of the proverb "A rolling stone gathers no moss"?
    Write a birthday message for my boss.
    """.strip().split("\n")
)


def built_in(seed: int) -> tuple[list[str], list[str]]:
    """(prompts to train on, held-out prompts): no held-out topic is ever trained on.

    Training: every topic in every kind, shuffled by `seed`. Held out: the other topics, each in one kind,
    and the free prompts.
    """
    train = [kind.format(topic) for topic in TOPICS for kind in KINDS]
    random.Random(seed).shuffle(train)
    held_out = [KINDS[(7 * i) % len(KINDS)].format(topic) for i, topic in enumerate(HELD_OUT_TOPICS)]
    return train, held_out + list(FREE_PROMPTS)


def from_file(path: Path, seed: int) -> tuple[list[str], list[str]]:
    """The same from a text file of one prompt a line; a tenth of them, at most 64, is held out."""
    prompts = list(dict.fromkeys(line.strip() for line in path.read_text(encoding="utf-8").splitlines()))
    prompts = [prompt for prompt in prompts if prompt]
    if len(prompts) < 2:
        raise SystemExit(f"{path} holds {len(prompts)} distinct prompts; it takes 2 or more, one a line")
    random.Random(seed).shuffle(prompts)
    held_out = max(1, min(64, len(prompts) // 10))
    return prompts[held_out:], prompts[:held_out]

"""Openings of texts over many topics, from which a language model writes its own training corpus."""

from __future__ import annotations

import torch

__all__ = ["CHAT", "PLAIN", "SUBJECTS", "TEMPLATES", "openings"]

SUBJECTS: dict[str, tuple[str, ...]] = {
    "cooking": (
        "baking bread", "tomato soup", "grilled fish", "a chocolate cake", "fried rice",
        "garlic butter", "roast chicken", "a salad of beans", "pancakes for breakfast",
        "the smell of onions in a pan",
    ),
    "weather": (
        "heavy rain", "a snow storm", "the hot summer", "fog over the hills", "a hurricane",
        "cold wind", "clear skies", "thunder and lightning", "the weather forecast", "frost in spring",
    ),
    "animals": (
        "dogs", "a black cat", "wolves in winter", "elephants", "the migration of birds", "honey bees",
        "sharks", "a horse on the farm", "snakes", "the last tiger",
    ),
    "sport": (
        "the football match", "tennis", "a basketball player", "the Olympic games",
        "running a marathon", "the goalkeeper", "swimming", "baseball", "the coach of the team",
        "boxing",
    ),
    "music": (
        "the piano", "a rock band", "jazz", "the violin concert", "a new song", "an opera singer",
        "drums", "the guitar solo", "a choir", "Beethoven",
    ),
    "law": (
        "the judge", "a criminal trial", "the constitution", "a contract", "the lawyer's argument",
        "copyright", "the supreme court", "a witness", "human rights", "the police",
    ),
    "space": (
        "the planet Mars", "black holes", "the Moon landing", "a distant galaxy", "astronauts",
        "the Sun", "a comet", "the space station", "telescopes", "the rings of Saturn",
    ),
    "medicine": (
        "the flu", "a heart surgeon", "vaccines", "a broken leg", "diabetes", "the hospital at night",
        "headaches", "cancer treatment", "a nurse", "blood pressure",
    ),
    "emotions": (
        "happiness", "a deep sadness", "anger", "being in love", "fear of the dark", "loneliness",
        "jealousy", "gratitude", "the joy of a child", "grief after a loss",
    ),
    "history": (
        "the Roman Empire", "the Second World War", "the French Revolution", "ancient Egypt",
        "the Vikings", "medieval knights", "the Industrial Revolution", "Napoleon", "the Cold War",
        "the Silk Road",
    ),
    "code": (
        "a Python function that sorts a list", "a bug in the program", "an SQL query",
        "JavaScript arrays", "a recursive algorithm", "the compiler", "a web server", "version control",
        "a for loop", "memory leaks",
    ),
    "weekdays": (
        "Monday morning", "Friday night", "a Sunday with the family", "Wednesday",
        "the months of the year", "the calendar", "next Thursday", "Tuesday's meeting", "Saturday",
        "the first day of January",
    ),
    "letters": (
        "the letter B", "the alphabet", "vowels and consonants", "spelling", "handwriting",
        "the word 'cat'", "capital letters", "Greek letters", "punctuation", "rhymes",
    ),
    "money": (
        "the stock market", "taxes", "a bank loan", "inflation", "the price of oil", "a small business",
        "gold", "saving for a house", "the economy of Japan", "a rich man",
    ),
    "travel": (
        "Paris", "a train to the coast", "the airport", "Tokyo", "a hotel in Rome",
        "the road to Mexico", "backpacking in India", "a map of London", "Brazil",
        "the border of Canada",
    ),
    "religion": (
        "the church", "Buddhism", "a prayer", "Islam", "the Bible", "a temple", "the priest", "faith",
        "Hindu festivals", "the soul",
    ),
    "family": (
        "my mother", "two brothers", "a wedding", "the newborn baby", "grandparents", "divorce",
        "a family dinner", "cousins", "my daughter", "an old couple",
    ),
    "school": (
        "the teacher", "homework", "a mathematics exam", "the university", "learning to read",
        "the library", "a science project", "students", "a scholarship", "the last day of school",
    ),
    "mathematics": (
        "prime numbers", "the number 7", "geometry", "an equation with two unknowns", "probability",
        "fractions", "calculus", "the triangle", "counting to twenty", "a proof",
    ),
    "plants": (
        "roses", "an oak tree", "the rain forest", "growing tomatoes", "mushrooms", "grass", "a cactus",
        "flowers in spring", "seeds", "apple trees",
    ),
    "war": (
        "the soldiers", "a peace treaty", "the navy", "a nuclear weapon", "the general", "refugees",
        "the battle", "spies", "an army of volunteers", "the siege of the city",
    ),
    "art": (
        "a painting by Picasso", "sculpture", "photography", "the museum", "colours", "a film director",
        "poetry", "theatre", "a famous novel", "architecture",
    ),
    "technology": (
        "smartphones", "electric cars", "robots", "the internet", "artificial intelligence",
        "batteries", "a new camera", "solar power", "video games", "social media",
    ),
    "politics": (
        "the president", "an election", "parliament", "immigration", "a protest", "the mayor",
        "democracy", "the prime minister", "climate policy", "a scandal",
    ),
    "body": (
        "the eyes", "sleep", "breathing", "strong muscles", "the human brain", "teeth",
        "a healthy diet", "hair", "hands", "getting old",
    ),
    "sea": (
        "the ocean", "a fishing boat", "an island", "waves", "the beach", "a lighthouse", "whales",
        "the harbour", "coral reefs", "a shipwreck",
    ),
}  # fmt: skip

TEMPLATES = (
    "{subject} is",
    "The most important thing about {subject} is that",
    "Yesterday I read an article about {subject}. It said",
    "Once upon a time there was a story about {subject}.",
    "Dear diary, today I thought about {subject}",
    "Question: What do you know about {subject}?\nAnswer:",
    '"Tell me about {subject}," she said.',
    "Five facts about {subject}:\n1.",
    "In my opinion, {subject}",
    "The history of {subject} begins",
    "He did not like {subject}, because",
    "Chapter 3: {subject}\n\n",
    "How does one explain {subject} to a child?",
    "The news of today: {subject}",
    "When I was young, {subject}",
    "A poem about {subject}\n\n",
    "Scientists who study {subject} have found",
)
CHAT = (
    "Tell me something about {subject}.",
    "Write a short story about {subject}.",
    "What should I know about {subject}?",
)
PLAIN = (
    "def fibonacci(n):\n",
    "import numpy as np\n\n",
    "SELECT name, age FROM",
    "<html>\n<body>\n",
    "for (int i = 0; i < n; i++) {\n",
    "class Animal:\n    def __init__(self",
    "Monday, Tuesday, Wednesday,",
    "January, February,",
    "one, two, three, four,",
    "A, B, C, D,",
    "2 + 2 = 4\n3 + 5 =",
    "Ingredients:\n- 2 cups of flour\n-",
    "Preheat the oven to",
    "Alice: Good morning!\nBob:",
    "Customer: I would like to return this.\nClerk:",
    "Doctor: What is the problem?\nPatient:",
    "Dear Sir or Madam,\n",
    "To whom it may concern:",
    "Subject: Meeting\n\nHi all,",
    "Breaking news:",
    "The",
    "I",
    "It was a dark and",
    "In this paper, we",
    "Abstract:",
    "Review: 5 stars.",
    "Review: 1 star.",
    "The capital of France is Paris. The capital of",
    "Red, green, blue,",
    "La maison est",
    "El perro come",
    "Der Mann geht",
    "Once upon a time",
    "Step 1:",
    "Rule number one:",
    "Warning:",
    "Happy birthday",
    "Score: 3-1.",
    "Temperature: 20 degrees.",
    "# Introduction\n\n",
)
_SHARES = (0.78, 0.12)  # of templates and of chats; the rest are plain openings


def openings(count: int, generator: torch.Generator) -> list[tuple[str, bool]]:
    """Draw openings.

    Parameters
    ----------
    count : int
        How many.
    generator : torch.Generator
        Decides which.

    Returns
    -------
    list of (str, bool)
        Text, and whether it is a user's turn of a chat.
    """
    subjects = [one for some in SUBJECTS.values() for one in some]

    def pick(options: tuple[str, ...] | list[str]) -> str:
        return options[int(torch.randint(len(options), (), generator=generator))]

    drawn = []
    for _ in range(count):
        kind = float(torch.rand((), generator=generator))
        if kind < _SHARES[0]:
            text = pick(TEMPLATES).format(subject=pick(subjects))
            drawn.append((text[0].upper() + text[1:], False))
        elif kind < sum(_SHARES):
            drawn.append((pick(CHAT).format(subject=pick(subjects)), True))
        else:
            drawn.append((pick(PLAIN), False))
    return drawn

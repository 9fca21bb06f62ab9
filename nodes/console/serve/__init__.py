"""`draftwire serve`: the device as a server that speaks OpenAI's API.

command.py    the command: nodes, key, what it prints
app.py        the routes, and what they have in common
asked.py      a request's body as a value: fields.py checks it, neutral.py says what can't be done
answering.py  answers under way: pieces, waits, and what ends them
shapes.py     answers as JSON; usage.py: what they came to
"""

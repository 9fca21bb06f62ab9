"""`draftwire serve`: a device as a server that speaks OpenAI's API.

    command.py    the command's options; hosting.py: the nodes behind the server, and what it says of itself
    app.py        the routes, and what they have in common
    asked.py      a request's body as a value: fields.py checks it, neutral.py has what can't be done
    answering.py  answers under way: their pieces, how they wait, what ends them; stops.py cuts them
    replying.py   an answer as an HTTP response, whole or streamed; note.py tells the log of it
    shapes.py     answers as JSON; usage.py: what they came to; errors.py: why there is none

Whatever needs a server's libraries is imported when `draftwire serve` runs, and not before.
"""

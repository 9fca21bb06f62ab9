"""HTTP: serving an application in the running loop, and what keeps strangers out of it."""

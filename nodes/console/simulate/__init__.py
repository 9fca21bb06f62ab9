"""`draftwire simulate`: the four nodes, unchanged, in virtual time, for as many devices as one likes."""

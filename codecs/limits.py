"""Every hard limit of the wire, each with its reason.

Limits are checked before anything is allocated, so that no peer can make us take memory by a number alone.
"""

MAX_VOCAB_SIZE = 262_144
"Token ids fit in 18 bits; the largest vocabulary in common use (Gemma 3) has just this many."

MIN_VOCAB_SIZE = 2
"With a single id there is nothing to draft."

MAX_PLAIN_K = 4096
"Entries of a plain row. Acceptance stops growing long before; more is what dense rows are for."

MAX_RUNGS = 32
"Values of K that a set of tables has tables for: steps of 1.3 from 1 to 4096."

MAX_TABLES = 64
"Tables of a rung: each halving of what they save takes four times as many."

MAX_ROW_BITS = 2**24 - 1
"Of a usual row, as a set says of itself: 3 bytes in the file."

MAX_FRONT = 2**16 - 1
"Ids that the tables of a rung each have an order of their own for; a place among them takes 2 bytes."

MAX_WIDTH = 18
"log2 of the ranks in a bucket: one can hold every id there is."

MAX_TABLE_SET_BYTES = 2**26
"A file of tables, 64 MiB: 30 rungs of 16 tables with the longest front. One for a common pair is 1 to 3 MB."

MAX_TABLE_SETS = 8
"Sets that a Hello offers: one a text's kind and draft is plenty."

MAX_GAMMA = 32
"""Drafted tokens in one block, rows in one message.

Where a draft step costs 0.07 of a target step, the best block has 18 tokens at acceptance 0.95, 31 at 0.98.
"""

MAX_TOKENS = 262_144
"Tokens in one message (3 bytes each, so a full Open is 0.8 MB): beyond the context of the models we run."

MAX_UINT32 = 2**32 - 1
"Positions, epochs, tries, plan and incarnation numbers have 32 bits: years of tokens."

MAX_UINT64 = 2**64 - 1
"Seeds and stamps."

MAX_STOPS = 16
"Stop strings of a request."

MAX_TEXT_BYTES = 1024
"UTF-8 bytes of one stop string or one sentence of detail."

MAX_FRAME_BYTES = 2**20
"""One frame, envelope included: 1 MiB.

Room for every plain block (at most 0.75 MB: 32 rows of 4096 entries, 45 bits each), for the full-vocabulary
baseline at gamma 8 over 49152 ids (0.79 MB) and for an Open of MAX_TOKENS. Too little for dense blocks that
nobody can mean on a slow link: 32 rows over 262144 ids would be 16.8 MB, more than two minutes at 1 Mbit/s.
"""

MAX_PROBE_BYTES = 2**16 - 1
"Padding of a Probe or an Echo: enough to tell the rate of a fast link, half a second at 1 Mbit/s."

MAX_PADDING = 2**12 + 1
"Bytes behind a frame's body: frames are padded to a multiple of 4096 at most, and the count takes two."

MAX_CONTROL_BYTES = 2**16
"One control body: 64 KiB. A report is under 1 kB; telemetry that needs more is a mistake."

MAX_CONTROL_DEPTH = 8
"Nesting of JSON in a telemetry event."

MAX_NAME_LENGTH = 128
"Characters of a node's, device's or role's name."

MAX_LADDER = 32
"Values of K that a report tells the acceptance at; the controller's own ladder has a dozen."

MAX_LINK_LENGTH = 4096
"Characters of a link or a schedule of links, as words."

MAX_LISTED_DEVICES = 48
"Names in a LinkState: with the longest names and words it stays under MAX_CONTROL_BYTES."

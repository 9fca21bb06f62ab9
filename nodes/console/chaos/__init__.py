"""`draftwire chaos`: the four nodes, unchanged, under schedules of faults; what was promised is checked."""

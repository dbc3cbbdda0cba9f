"""How near generated pictures are to real ones: networks, statistics, distances, and the evaluation of a generator."""

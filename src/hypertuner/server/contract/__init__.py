"""What the server and the page say to each other, as types: the page's own are made from them (web/openapi.json).

A number that JSON cannot hold (NaN, infinity) is null where a number is said, and spelled in the `nonfinite` beside it.
Times are seconds since 1970. Runs are named by their names, everything else by an id that the server gave, never by a
path.
"""

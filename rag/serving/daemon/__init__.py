"""A resident process that answers questions with what it has loaded, over a local socket.

`place` says where the socket is and who may use it, `identity` what both sides must have in common,
`messages` what they say, `naming` how paths mean the same on both sides. `client` is the side of a
command, `starting` starts and ends the process, `server` is that process, and `residents` are the
RAGs that it keeps.

Nothing is imported here: a command that finds no daemon must not pay for one.
"""

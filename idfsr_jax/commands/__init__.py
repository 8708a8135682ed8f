"""The commands of `idfsr`, a function each: its signature is its command line.

JAX and all that needs it is imported inside the commands, so that help and complaints about arguments come at once.
"""

"""The control socket: how commands on the machine itself reach a running server."""

"""Turns of conversation: the tree, running replies, their events, and the model they ask."""

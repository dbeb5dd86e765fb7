"""ryll's control socket (protocol major 1): a client that always ends at its deadline, and a language of steps over it.

Usable from plain Python: `client.Client` speaks the protocol, `steps.plan` checks a list of steps, `session.run` plays
one. docs/ryll_session.md has the facts about the protocol.
"""

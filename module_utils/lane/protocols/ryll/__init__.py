"""ryll's control socket (protocol major 1): a client that no peer can hang, flood or mislead, and a language of steps over it.

Usable from plain Python: `client.Client` speaks the protocol, `steps.plan` checks a list of steps, `session.run` plays one.
The facts about the protocol are in docs/ryll_session.md.
"""

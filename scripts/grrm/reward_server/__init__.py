"""Rewards over HTTP, for trainers of other projects: the protocol of OpenRLHF's `--remote_rm_url`.

`protocol` is what is sent, `collect` brings the responses to a prompt together, `app` is the server.
"""

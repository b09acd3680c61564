"""Rewards over HTTP, for trainers of other projects: the protocol of OpenRLHF's `--remote_rm_url`.

`protocol` is what is sent, `app` is the server; `grrm.rewards.siblings` brings the responses to a prompt
together and `grrm.rewards.labelled` rewards them, as `grrm.rewards.openrlhf` has it done without a server.
"""

"""The demo: the product on a real kernel and a real API server, with evidence from the wire.

`record` keeps the timeline and what was proved, `cluster` asks the cluster, `traffic` is the load, `steps` is the
story, `judging` asks the capture, `ending` writes the result whatever happened.
"""

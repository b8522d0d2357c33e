"""What the agent answers over HTTP, from the last pass: metrics, health, evidence for `verify`, `plan`."""

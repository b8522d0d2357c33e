"""The machine the lab runs on: kernels, vehicles, the supervisor inside, the control plane's programs."""

"""What a pass writes into the kernel: SAs and policies, the guard's filters and entries."""

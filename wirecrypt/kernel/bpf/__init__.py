"""eBPF: compile, load, pin, attach, read. The only room that makes the bpf system call."""

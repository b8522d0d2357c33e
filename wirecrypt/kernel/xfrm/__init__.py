"""IPsec in the kernel over netlink: states, policies, expiry."""

"""How an agent that is recorded says why: a file descriptor and a Unix socket, in JSON lines or protobuf."""

"""The wire: frames, values, sessions, transports, peers. Must not know containers, tensors or files."""

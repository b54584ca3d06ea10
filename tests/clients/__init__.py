"""What real clients send, replayed byte for byte, and their answers read by those clients' own rules."""

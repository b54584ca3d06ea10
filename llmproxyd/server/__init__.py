"""Floor 4: the doors. HTTP in, HTTP out; every decision is somebody else's."""

"""Floor 3: one client request and its answer. The only room with tasks, timers and connections to providers."""

"""Many prompts and seeds through the lens, on any `concurrent.futures.Executor`; a sweep that was killed goes on."""

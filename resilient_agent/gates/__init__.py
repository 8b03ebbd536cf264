"""Gates: what stands between a call and its function. They answer; they wrap nothing and wait for nothing."""

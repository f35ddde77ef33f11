"""The front end of the suite: how pytest starts a run, keeps its account and joins nodes."""

"""Ray, which is known here alone: its nodes, the tasks that run there, who speaks to both."""

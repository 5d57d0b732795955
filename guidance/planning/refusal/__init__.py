"""No plan: what cut, what came nearest, and what would open one."""

"""The case: image, labels, policy, target, eligibility; and what labels lack."""

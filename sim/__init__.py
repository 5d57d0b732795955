"""The simulated suite: patient, arm, needle, tracker, scanner, behind the ports of guidance."""

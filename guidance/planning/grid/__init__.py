"""What is tried: anatomy, directions, lines and corridors on the planning grid."""

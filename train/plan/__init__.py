"""What a recipe takes on a slice of TPUs, without one."""

"""What a training left behind, read without torch: losses, alarms, and the lens at each validation epoch."""

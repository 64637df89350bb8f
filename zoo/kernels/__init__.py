"""How one operation runs on a platform."""

"""Optional parts: dj-bgfiles by name, and operations (doctor, metrics, health)."""

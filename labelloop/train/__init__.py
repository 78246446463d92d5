"""Learning from labels: head.py answers at once on frozen features; fine-tuning the backbone is slow and thorough."""

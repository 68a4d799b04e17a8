"""What the product costs and whether its speed costs accuracy, measured; see README.md."""

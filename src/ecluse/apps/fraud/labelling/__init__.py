"""Ask for a few labels, say what they tell of a model, and learn from them."""

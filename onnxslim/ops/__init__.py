"""What is known of each operator, once."""

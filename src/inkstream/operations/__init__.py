"""What an operator asks: how a stream is, and why it does not go on."""

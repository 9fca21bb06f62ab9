"""What tests of several folders share: a scripted link between two sessions, and an enumerating noise."""

"""What tests of several folders share: scripted sessions, whole systems in virtual time, real processes."""

"""The session protocol of both ends, sans-IO: messages and times in, messages and work out."""

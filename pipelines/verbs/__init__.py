"""What can be done with a home, a function a verb: the command, the flows and `import headrace`."""

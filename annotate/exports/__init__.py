"""What Label Studio exports, read task by task and checked."""

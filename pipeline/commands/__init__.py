"""The commands of semctl, a file a command: each reads its options, makes one library call and prints the result."""

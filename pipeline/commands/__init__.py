"""The commands of semctl, a file a group. A command reads its options, makes one library call and prints the result."""

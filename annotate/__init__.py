"""People in the loop: tasks for Label Studio out, checked belief states back in."""

"""What can happen, one function each: read rows, ask ``core``, write rows with a guard, inside the caller's transaction."""

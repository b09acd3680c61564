"""Source tables: the toy world and the written sample; and their preparation for each training stage."""

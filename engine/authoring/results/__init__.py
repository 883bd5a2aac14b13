"""Results: what journeys brought about, told from the decisions and from what customers did."""

"""Online: programs that arrive over time, under several systems: rates, deadlines, fairness."""

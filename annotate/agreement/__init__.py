"""How far annotators agree: alpha, kappa, slot-value F1 and joint goal accuracy, with intervals.

In reading order: what a turn's update says of each slot (``aligned_labels``), how alike two such cells are and the
coefficients themselves (``coefficients``), the counts they are made of, kept dialogue by dialogue (``tally``), and what
follows from the counts, with bootstrap intervals (``figures``).
"""

"""Graded metrics: functions of a prediction and an answer that give a score from 0 to 1."""

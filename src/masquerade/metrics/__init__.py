"""Scores, floors and intervals: numbers in, numbers out. Knows neither files nor networks.

Undefined is nan inside and None in results; it is never 0.
"""

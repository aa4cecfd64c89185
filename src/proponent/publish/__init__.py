"""Leaderboard, figures and report: tables in, tables and pictures out."""
